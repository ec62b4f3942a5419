"""Playing train games that a student's training held out, with the memories of their floor plans left out too.

What the parity gate writes into a bundle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from duomem.core.scene import floor_plan
from duomem.core.trajectory import TRAIN_SPLIT
from duomem.device.agent.agent import PROTOCOLS, Agent
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import Engine
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import Retriever


def play_held_out(
    engine: Engine, tokenizer: PromptTokenizer, games: Sequence[Path], pack: Path | None
) -> dict[str, int]:
    """Games won by each protocol, with the goals in the games' own words. tokenizer: of their world. pack: memories,
    None for none. Raises UserError for a damaged game or pack.
    """
    world = tokenizer.world
    retriever = _retriever(pack, {world.describe(game)[1] for game in games}) if pack else None
    won: dict[str, int] = {}
    for protocol in PROTOCOLS:
        with contextlib.closing(Agent(engine, tokenizer, "held-out", protocol, retriever)) as agent:
            won[protocol] = sum(agent.play(world.load_game(game), TRAIN_SPLIT).won for game in games)
    return won


def _retriever(pack_file: Path, scenes: set[str]) -> Retriever | None:
    """Of the pack's memories that other floor plans than these tell too."""
    pack = read_pack(pack_file)
    groups = {group for m in pack.memories for _, group in m.sources if floor_plan(group) in scenes}
    memories = [kept for m in pack.memories if (kept := m.without(groups=groups)) is not None]
    return Retriever(memories, pack.lexicon) if memories else None
