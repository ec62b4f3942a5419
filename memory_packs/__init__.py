"""Procedural memories as a download: the `.dmpack` format, its reader and retriever, its builder.

Reader and retriever run on the device: standard library only.
"""
