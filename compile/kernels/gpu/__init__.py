"""TIR kernels for GPUs, scheduled by hand: no wider than 256 threads, and no subgroup assumed."""
