"""docs/results: what each episode of a published row did, small, and without anybody's words.

`python scripts/result_files.py keep FILE.jsonl ...` writes docs/results/FILE.jsonl.gz; `show` prints what is there.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duomem.core.files import read_json, read_jsonl, write_bytes
from duomem.core.resumable_jsonl import sidecar_of
from duomem.core.stats import wilson

FOLDER = Path(__file__).parents[1] / "docs" / "results"


def kept(file: Path) -> Iterator[dict[str, Any]]:
    """The lines to keep of an episode file: what it is made from, then an object for each episode."""
    yield {"inputs": read_json(sidecar_of(file), "record of inputs")}
    for row in read_jsonl(file, "episode file"):
        yield {
            "game": row["game"],
            "group": row["group"],
            "goal_source": row["goal_source"],
            "won": row["won"],
            "commands": [step["action"] for step in row["steps"]],
            **{name: row[name] for name in ("memories", "seconds", "prefilled", "decoded", "ended") if name in row},
        }


def keep(files: list[Path]) -> None:
    """Write the kept lines of each file, the same bytes from the same file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file in files:
        text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in kept(file))
        write_bytes(FOLDER / f"{file.name}.gz", gzip.compress(text.encode(), 9, mtime=0))


def show() -> None:
    """A line for each file: games, wins, success and its 95 % Wilson interval."""
    for file in sorted(FOLDER.glob("*.jsonl.gz")):
        rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()][1:]
        wins = sum(row["won"] for row in rows)
        low, high = wilson(wins, len(rows))
        print(f"{file.name:44} {wins:4}/{len(rows):<4} {wins / len(rows):6.1%} ({low:.1%} - {high:.1%})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"] and sys.argv[2:]:
        keep([Path(name) for name in sys.argv[2:]])
    elif sys.argv[1:] == ["show"]:
        show()
    else:
        sys.exit(__doc__)
