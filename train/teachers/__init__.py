"""Teachers: whoever produces successful trajectories on train games.

The searching expert is the one that needs no account and no GPU.
"""
