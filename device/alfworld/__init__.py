"""ALFWorld text games: reading game files, duomem's engine, and the official one behind one interface.

duomem's engine runs anywhere Python runs; the official one (host, x86-64) is its reference.
"""
