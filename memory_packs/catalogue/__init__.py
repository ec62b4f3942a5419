"""Catalogues of memory packs: TUF repositories as static files, their publisher and their client.

Standard library only for what is installed; publishing and pulling need the extra `packs`.
"""
