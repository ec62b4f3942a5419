"""Synthetic tasks: household procedures no student can know, solved by whoever reads a memory of them.

They teach a student to do what a memory says; real tasks then profit from packs it was never trained on.
"""
