"""Decoder architectures on tvm.relax.frontend.nn, one family a file."""
