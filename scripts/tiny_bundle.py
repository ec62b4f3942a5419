"""A bundle to try other machines and Pythons with: `python scripts/tiny_bundle.py DIR`.

A tiny random student, compiled for this machine. It wins nothing, but what it does is the same everywhere.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def make(out: Path) -> None:
    """Write the bundle into the folder `out`."""
    sys.path.insert(0, str(ROOT / "tests"))
    from conftest import write_tiny_model

    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder), max_position_embeddings=4096)
        compile_bundle(model, load_target("host"), "q4f32_1", out, min_agreement=0.0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("tiny_bundle.py: give the folder to write")
    make(Path(sys.argv[1]))
