"""CUDA on this machine: NVIDIA's compiler, and the libraries that TVM's CUDA runtime is linked to.

The compile stage asks for the compiler, a device for the libraries.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
from pathlib import Path

MAJOR = 13
"""CUDA version TVM's runtime is linked to, and so what the machine code must fit."""
LIBRARIES = ("libcuda.so.1", f"libcudart.so.{MAJOR}")
"""What TVM's CUDA runtime loads: the driver's, and the CUDA runtime's."""
JETPACK = "JetPack 7"
"""NVIDIA's software for Jetsons that has CUDA 13."""
NEEDS = f"an NVIDIA GPU, its driver and the CUDA {MAJOR} runtime ({JETPACK} on a Jetson)"
"""What a library for CUDA needs of a machine."""


def find_nvcc() -> Path | None:
    """$CUDA_HOME's nvcc, that of the PyPI packages, or the one on PATH; None if there is none."""
    folders = [Path(os.environ["CUDA_HOME"])] if os.environ.get("CUDA_HOME") else []
    spec = importlib.util.find_spec("nvidia")
    folders += [Path(place) / f"cu{MAJOR}" for place in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if os.access(folder / "bin" / "nvcc", os.X_OK):
            return folder / "bin" / "nvcc"
    found = shutil.which("nvcc")
    return Path(found) if found else None


def missing_libraries() -> list[str]:
    """Those of LIBRARIES that do not load here."""
    missing = []
    for name in LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def lacking() -> str:
    """The end of a sentence that names the libraries that do not load here; empty if all do."""
    missing = missing_libraries()
    return f"; {' and '.join(missing)} {'do' if len(missing) > 1 else 'does'} not load here" if missing else ""
