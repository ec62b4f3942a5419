"""Hand-written TIR kernels: one operation a file, CPU first.

Scratch of a CPU kernel has TVM's default scope: less than 1 KB of it is on the stack, or in registers. What is `local`
is taken from the heap, at every pass through its block.
"""
