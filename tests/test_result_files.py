"""docs/results: the published episodes are there, and nobody's words are."""

from __future__ import annotations

import gzip
import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import episode

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docs" / "results").glob("*.jsonl.gz"))
FIELDS = {"game", "group", "goal_source", "won", "commands", "memories", "seconds", "prefilled", "decoded", "ended"}


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_published_file_holds_episodes_and_no_words(file: Path) -> None:
    made, *rows = _rows(file)
    assert made["inputs"] and rows and file.stat().st_size < 200_000
    assert all(row.keys() <= FIELDS for row in rows)
    assert len({(row["game"], row["goal_source"]) for row in rows}) == len(rows)


def test_what_is_kept_of_an_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence, the intro and the observations stay behind; the same file gives the same bytes."""
    script = runpy.run_path(str(ROOT / "scripts" / "result_files.py"))
    monkeypatch.setitem(script["keep"].__globals__, "FOLDER", tmp_path / "results")
    told = [replace(episode(i), goal="words of mine", goal_source="human:0", intro="words of mine") for i in range(3)]
    file = tmp_path / "e.jsonl"
    file.write_text("".join(json.dumps(t.to_json() | {"seconds": 1.5, "ended": "won"}) + "\n" for t in told))
    file.with_name("e.jsonl.inputs.json").write_text('{"split": "train"}')
    script["keep"]([file])
    kept = tmp_path / "results" / "e.jsonl.gz"
    first = kept.read_bytes()
    made, *rows = _rows(kept)
    assert made == {"inputs": {"split": "train"}}
    assert rows[1]["commands"] == [step.action for step in told[1].steps] and rows[1]["goal_source"] == "human:0"
    assert b"words of mine" not in gzip.decompress(first)
    script["keep"]([file])
    assert kept.read_bytes() == first
