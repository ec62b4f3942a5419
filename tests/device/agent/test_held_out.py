"""Held-out games are played by both protocols, and their own floor plans' memories are shown to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeEngine, random_opinion

from duomem.device.agent import held_out
from duomem.device.agent.held_out import play_held_out
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack


def test_memories_of_the_games_floor_plans_are_left_out(
    generated_games: Path, byte_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = find_games(generated_games, "train")[0]
    here, elsewhere = game.parent.parent.name, "pick_and_place_simple-Mug-None-Desk-999"
    memories = [
        Memory(f"put a mug in {place}", "pick_and_place_simple", "mug", place, ("look",), digit * 64, group)
        for place, digit, group in (("desk", "a", here), ("shelf", "b", elsewhere))
    ]
    pack = tmp_path / "p.dmpack"
    write_pack(pack, "p", "expert/1", "0" * 64, memories)
    shown: list[Memory] = []
    index = held_out.Retriever
    monkeypatch.setattr(held_out, "Retriever", lambda kept, lexicon: shown.extend(kept) or index(kept, lexicon))
    engine = FakeEngine(random_opinion(300), vocab_size=300)
    won = play_held_out(engine, PromptTokenizer(byte_tokenizer), [game], pack)
    assert [memory.group for memory in shown] == [elsewhere]
    assert set(won) == {"constrained", "free"} and all(wins in (0, 1) for wins in won.values())
