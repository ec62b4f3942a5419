"""ALFWorld games without a download: the seeded generator.

Reads only files of the alfworld wheel.
"""
