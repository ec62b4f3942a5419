"""ALFWorld text games: reading game files, the kit's own engine, and the official one behind one interface.

The kit's engine runs anywhere Python runs; the official one (host, x86-64) is its reference.
"""
