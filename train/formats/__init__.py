"""Trajectories as files of others, for their trainers and viewers: written, read back, and those of others read."""
