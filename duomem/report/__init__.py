"""What was measured, told: conditions played one after another, compared on the same games, tabulated and drawn.

No torch here; a figure needs matplotlib (`pip install duomem[plot]`).
"""
