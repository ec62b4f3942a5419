"""Host side: a merged Hugging Face student becomes quantized weights and a TVM library in a bundle.

Each target is compiled in its own process, and nothing is written that fails the logit gate.
"""
