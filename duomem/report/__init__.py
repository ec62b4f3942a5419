"""Reports of what was measured: conditions played, compared on the same games, in tables and figures.

No torch here; a figure needs matplotlib (`pip install duomem[plot]`).
"""
