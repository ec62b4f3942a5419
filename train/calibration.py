"""The episodes that 4-bit weights are rounded on: a fixed sample of what a student is trained on.

compile/weights/gptq.py rounds on them; nothing that the student was never trained on is among them.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.errors import TrajectoryError
from duomem.core.files import sha256_input
from duomem.core.trajectory import read_train_trajectories
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.world.worlds import named_world
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import MAX_MEMORIES
from duomem.train.dataset import EpisodeDataset
from duomem.train.holdout import read_hold_out
from duomem.train.memory_sampler import MemorySampler

_EPISODES = 48
_SEED = 0
_MAX_TOKENS = 1024
_MEMORY_PROB = 0.5


def sample_episodes(
    trajectories: Path, pack_file: Path | None, model_dir: Path, world: str | None = None
) -> tuple[tuple[tuple[int, ...], ...], dict[str, Any]]:
    """Sample won train episodes as training shows them, half of them with another game's memory.

    trajectories: train trajectories, of which at most 48 won ones of at most 1,024 tokens are taken, without what the
    student's training held out. pack_file: the memories, none if None. model_dir: the student, for its tokenizer and
    its record of training. world: see train_student.

    Returns (episodes, record): the token ids of each episode, and where they come from (JSON), as
    compile.weights.gptq.Calibration holds them. Raises TrajectoryError if no episode fits, or one is not of train;
    PackError for a damaged pack.
    """
    held = read_hold_out(model_dir)
    won = [t for t in held.rest(read_train_trajectories(trajectories)) if t.won]
    worlds = {t.world for t in won} or {DEFAULT_WORLD}
    if len(worlds) > 1:
        raise TrajectoryError(f"{trajectories}: of several worlds: give the student's own")
    played = named_world(worlds.pop(), world, str(trajectories))
    pack = read_pack(pack_file) if pack_file is not None else None
    sample = random.Random(_SEED).sample(won, min(_EPISODES, len(won)))
    memories = held.memories(pack.memories) if pack else ()
    lexicon = pack.lexicon if pack else None
    draw = MemorySampler(memories, _MEMORY_PROB, 0.0, 0.0, MAX_MEMORIES, lambda group: lexicon, played.place_kinds)
    dataset = EpisodeDataset(sample, draw, PromptTokenizer(model_dir, world=played), _SEED, _MAX_TOKENS)
    episodes = tuple(example.tokens for example in dataset.epoch(0))
    if not episodes:
        raise TrajectoryError(
            f"{trajectories}: no won episode of at most {_MAX_TOKENS} tokens to calibrate on: give another"
        )
    record = {
        "method": "gptq",
        "trajectories": sha256_input(trajectories, "trajectory file"),
        "pack": pack.digest if pack else None,
        "episodes": len(episodes),
        "tokens": sum(map(len, episodes)),
        "seed": _SEED,
    }
    return episodes, record
