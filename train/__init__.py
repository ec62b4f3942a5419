"""Host side: games, teachers, trajectories, LoRA training and merging.

Everything here may import torch, but only inside the functions that need it.
"""
