"""Nothing a student is measured on is in what it learns from: by the digest of every game."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from duomem.base.files import sha256_file
from duomem.cli.main import main
from duomem.device.alfworld.catalogue import SPLITS, find_games
from duomem.memory_packs.pack import read_pack

SHIPPED = Path(__file__).parents[1] / "shipped" / "packs" / "alfworld-expert.dmpack"


def test_what_is_made_of_a_root_holds_none_of_its_validation_games(generated_games: Path, tmp_path: Path) -> None:
    out, pack = tmp_path / "t.jsonl", tmp_path / "a.dmpack"
    assert main(["teach", "--games", str(generated_games), "--jobs", "1", "--out", str(out)]) == 0
    assert main(["pack", "build", str(out), "--out", str(pack)]) == 0
    digests = {split: {sha256_file(g) for g in find_games(generated_games, split)} for split in SPLITS}
    groups = {split: {g.parts[-3] for g in find_games(generated_games, split)} for split in SPLITS}
    played = [json.loads(line) for line in out.read_text().splitlines()]
    memories = read_pack(pack).memories
    assert {row["game"] for row in played} == digests["train"]
    assert memories and {m.game for m in memories} <= digests["train"]
    for split in ("valid_seen", "valid_unseen"):
        assert digests[split] and not digests[split] & digests["train"]
        for file in tmp_path.iterdir():
            assert not any(digest.encode() in file.read_bytes() for digest in digests[split])
    assert not groups["valid_unseen"] & {m.group for m in memories}


def test_the_shipped_pack_holds_no_real_validation_game(real_games: list[Path]) -> None:
    if not SHIPPED.is_file():
        pytest.skip(f"no {SHIPPED.name} is shipped")
    memories = read_pack(SHIPPED).memories
    assert len(memories) > 1000
    assert not {m.game for m in memories} & {sha256_file(g) for g in real_games}
