"""Stop with one line where the Python is not one duomem supports.

Runs before there is a venv: standard library of any Python 3 only.
"""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    sys.exit(
        "duomem: error: Python {}.{} is not supported: run make with PYTHON=python3.10, python3.11 or "
        "python3.12".format(*sys.version_info)
    )
