"""setuptools glue: in duomem's tree the engine is copied in first; a source distribution has it already."""

import sys
from pathlib import Path

from setuptools import setup  # type: ignore[import-untyped]

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import vendor  # type: ignore[import-not-found]  # noqa: E402

if (HERE.parent / "device" / "alfworld").is_dir():
    vendor.vendor(HERE.parent, HERE / vendor.PACKAGE)

setup()
