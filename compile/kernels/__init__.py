"""Hand-written TIR kernels: one operation a file, CPU first."""
