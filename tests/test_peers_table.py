"""The table of other engines: made from bench results, written between its markers and nowhere else."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "peers_table.py"
_spec = importlib.util.spec_from_file_location("peers_table", SCRIPT)
assert _spec and _spec.loader
peers_table = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(peers_table)


def run(threads: int, ours: float, theirs: float) -> dict[str, Any]:
    return {
        "threads": threads,
        "engines": {
            "duomem": {"engine": "duomem", "library": "lib/x.so"},
            "peer": {"engine": "peer", "peer": "1.2", "weights": "its own"},
        },
        "agreement": {"peer": {"same_weights": False, "mean_kl": 0.25}},
        "tests": [
            {
                "test": "pp32",
                "engines": {"duomem": {"median": ours}, "peer": {"median": theirs}},
                "versus": {"peer": {"median": ours / theirs}},
            }
        ],
    }


RESULT = {
    "time": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "Some CPU", "cores": 2, "packages": {"duomem": "0.1.0"}},
    "runs": [run(1, 100, 50), run(2, 180, 120)],
}


def test_rows_by_engine_and_columns_by_test(tmp_path: Path) -> None:
    document, file = tmp_path / "d.md", tmp_path / "r.json"
    document.write_text(f"before\n{peers_table.BEGIN}\nold\n{peers_table.END}\nafter\n")
    file.write_text(json.dumps(RESULT))
    for _ in range(2):
        peers_table.main([str(document), str(file)])
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "Some CPU, 2 cores, 2026-01-02; `lib/x.so`" in text
    assert "| duomem 0.1.0 | 100 / 180 |  |" in text
    assert "| peer 1.2 | 50 / 120 (2.00x / 1.50x) | 2.5e-01 (other weights) |" in text
    assert text.count("| engine |") == 1


def test_a_document_without_markers_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text("text\n")
    with pytest.raises(SystemExit, match="are not in it"):
        peers_table.main([str(document)])
    assert document.read_text() == "text\n"
