"""Stop with one line where the Python is not one duomem supports.

Runs before there is a venv: standard library of any Python 3 only.
"""

import sys

OLDEST, NEWEST = (3, 10), (3, 14)

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        "duomem: error: Python {}.{} is not supported: run make with PYTHON=python3.X, X from {} to {}".format(
            *sys.version_info[:2], OLDEST[1], NEWEST[1]
        )
    )
