"""The engine: a verified bundle loaded on TVM, and whether this machine can run it."""
