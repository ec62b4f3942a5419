"""ALFWorld games on a host: the seeded generator, which needs no download, and the official engine.

The generator reads only files of the alfworld wheel.
"""
