"""Which train games are kept from training to validate on: single games, and whole floor plans.

Chosen by digest and not by seed: every run on the same games holds out the same ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import TrainError
from duomem.core.files import read_json, sha256_input
from duomem.core.reading import digest_of
from duomem.core.scene import floor_plan
from duomem.core.trajectory import Trajectory
from duomem.memory_packs.memory import Memory

RECORD = "duomem.json"
"""What a run or a merging was made of, beside its weights."""
VALIDATED = 64
"""Most episodes measured of each kind, so that a validation takes seconds."""


@dataclass(frozen=True)
class HoldOut:
    """games: digests of single games; scenes: floor plans of which no game is trained on."""

    games: frozenset[str]
    scenes: frozenset[str]

    def __bool__(self) -> bool:
        """Whether anything is held out."""
        return bool(self.games or self.scenes)

    def record(self) -> dict[str, list[str]]:
        """As JSON, as a run's record and a merged student hold it."""
        return {"games": sorted(self.games), "scenes": sorted(self.scenes)}

    def has(self, game: str, group: str) -> bool:
        """Whether a game is kept from training."""
        return game in self.games or floor_plan(group) in self.scenes

    def rest(self, trajectories: Iterable[Trajectory]) -> list[Trajectory]:
        """Which episodes are not kept from training."""
        return [t for t in trajectories if not self.has(t.game, t.group)]

    def memories(self, memories: Iterable[Memory]) -> list[Memory]:
        """What a pack built without the games that are kept from training would hold: a memory that other games support
        too stays, as theirs.
        """
        kept: list[Memory] = []
        for memory in memories:
            games = {game for game, group in memory.sources if self.has(game, group)}
            if (rest := memory.without(games)) is not None:
                kept.append(rest)
        return kept

    def validation(self, trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
        """Held-out won episodes of known scenes ("games") and of scenes never seen ("scenes"), one a game, in some of
        the words that its goal is told in.
        """
        found: dict[str, dict[str, Trajectory]] = {"games": {}, "scenes": {}}
        held = [t for t in trajectories if t.won and self.has(t.game, t.group)]
        for t in sorted(held, key=lambda t: (_rank(t.game), _rank(t.task_id))):
            chosen = found["scenes" if floor_plan(t.group) in self.scenes else "games"]
            if len(chosen) < VALIDATED:
                chosen.setdefault(t.game, t)
        return {kind: list(chosen.values()) for kind, chosen in found.items() if chosen}


def read_hold_out(folder: Path) -> HoldOut:
    """What the adapter or merged student in `folder` was never trained on, nothing if no record tells. Raises
    UserError for a damaged record.
    """
    file = folder / RECORD
    found = read_json(file, "training record") if file.is_file() else {}
    held = found.get("held_out", {}) if isinstance(found, dict) else None
    games, scenes = (held.get("games", []), held.get("scenes", [])) if isinstance(held, dict) else (None, None)
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in (games, scenes)):
        raise TrainError(f"{file}: field held_out does not list games and scenes: train or merge again")
    return HoldOut(frozenset(games or ()), frozenset(scenes or ()))


def games_held_out(folder: Path, games: Iterable[Path], most: int) -> list[Path]:
    """At most `most` of these game files that the merged student in `folder` was never trained on, those of floor plans
    that it never saw first. Raises TrainError if its record names none of them.
    """
    held = read_hold_out(folder)
    named = [(game.parent.parent.name, sha256_input(game, "game"), game) for game in games] if held else []
    found = sorted(
        (floor_plan(group) not in held.scenes, _rank(digest), game)
        for group, digest, game in named
        if held.has(digest, group)
    )
    if not found:
        raise TrainError(f"{folder / RECORD}: field held_out names none of these games: give those it was trained on")
    return [game for _, _, game in found[:most]]


def hold_out(trajectories: Sequence[Trajectory], games_share: float, scenes_share: float) -> HoldOut:
    """Hold out these shares of the games and, of each kind of scene, of the floor plans, rounded up."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for t in trajectories:
        kinds[floor_plan(t.group)[:-2]].add(floor_plan(t.group))  # 1-30 kitchens, 201-230 living rooms, ...
    scenes = frozenset(scene for kind in kinds.values() for scene in _first(kind, scenes_share))
    games = {t.game for t in trajectories if floor_plan(t.group) not in scenes}
    return HoldOut(frozenset(_first(games, games_share)), scenes)


def _first(names: Iterable[str], share: float) -> list[str]:
    ordered = sorted(names, key=_rank)
    return ordered[: math.ceil(len(ordered) * share)]


def _rank(name: str) -> str:
    return digest_of(["held out", name])
