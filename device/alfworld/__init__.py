"""ALFWorld text games: reading game files, and duomem's engine.

It runs anywhere Python runs. Its reference, the official engine, is host-only: train/games/official_env.py.
"""
