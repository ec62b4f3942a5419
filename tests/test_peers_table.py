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


def result(peer: str, threads: int, ours: list[float], theirs: float, library: str = "lib/x.so") -> dict[str, Any]:
    """One process of the bench: `ours` and `theirs` in tokens a second of one test, 32 tokens."""
    test = {
        "test": "pp32",
        "tokens": 32,
        "engines": {"duomem": {"seconds": [32 / rate for rate in ours]}, peer: {"median": theirs}},
        "versus": {peer: {"median": ours[0] / theirs}},
    }
    run = {
        "threads": threads,
        "others_cores": 0.25,
        "engines": {
            "duomem": {"engine": "duomem", "library": library},
            peer: {"engine": peer, peer: "1.2", "weights": "its own"},
        },
        "agreement": {peer: {"same_weights": False, "mean_kl": 0.25}},
        "tests": [test],
    }
    return {
        "time": "2026-01-02T03:04:05+00:00",
        "machine": {"cpu": "Some CPU", "cores": 2, "packages": {"duomem": "0.1.0"}},
        "bundle": {"digest": "d"},
        "settings": {"repetitions": 3},
        "runs": [run],
    }


def write(tmp_path: Path, *results: dict[str, Any]) -> str:
    """The document, rewritten twice with the tables of `results`."""
    document = tmp_path / "d.md"
    document.write_text(f"before\n{peers_table.BEGIN}\nold\n{peers_table.END}\nafter\n")
    files = [tmp_path / f"{i}.json" for i in range(len(results))]
    for file, one in zip(files, results, strict=True):
        file.write_text(json.dumps(one))
    for _ in range(2):
        peers_table.main([str(document), *map(str, files)])
    return document.read_text()


def test_rows_by_threads_and_engine_and_columns_by_test(tmp_path: Path) -> None:
    text = write(
        tmp_path, result("a", 2, [180, 200, 220], 120), result("a", 1, [100], 50), result("b", 1, [104, 110], 80)
    )
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert text.count("### `lib/x.so`") == 1
    assert "Some CPU, 2 cores, 2026-01-02; 3 repetitions." in text
    assert [line for line in text.splitlines() if line.startswith("| ")] == [
        "| engine | threads | pp32 | mean KL, nats | others, cores |",
        "| duomem 0.1.0 | 1 | 104 |  |  |",
        "| a 1.2 | 1 | 50 (2.00x) | 2.5e-01 (other weights) | 0.2 |",
        "| b 1.2 | 1 | 80 (1.30x) | 2.5e-01 (other weights) | 0.2 |",
        "| duomem 0.1.0 | 2 | 200 |  |  |",
        "| a 1.2 | 2 | 120 (1.50x) | 2.5e-01 (other weights) | 0.2 |",
    ]
    assert text.count("- a, b: weights its own.") == 1


def test_what_llama_cpp_is_built_for(tmp_path: Path) -> None:
    one = result("a", 1, [100], 50)
    one["runs"][0]["engines"]["a"]["built_for"] = "CPU : AVX = 1 | AVX2 = 1"
    assert "- a: built for AVX, AVX2; weights its own." in write(tmp_path, one)


def test_a_table_for_each_library(tmp_path: Path) -> None:
    text = write(tmp_path, result("a", 1, [100], 50), result("a", 1, [150], 60, "lib/y.so"))
    assert text.count("| engine |") == 2 and text.index("lib/x.so") < text.index("lib/y.so")
    assert "| duomem 0.1.0 | 1 | 150 |" in text


def test_a_document_without_markers_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text("text\n")
    with pytest.raises(SystemExit, match="are not in it"):
        peers_table.main([str(document)])
    assert document.read_text() == "text\n"
