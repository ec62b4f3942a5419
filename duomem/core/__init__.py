"""What every other package may use: the user-facing error, safe files, progress.

Imports nothing of duomem and nothing outside the standard library but rich.
"""
