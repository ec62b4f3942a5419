"""Reports of what was measured: conditions played, compared on the same games, tabulated and drawn.

No torch here; a figure needs matplotlib (`pip install duomem[plot]`).
"""
