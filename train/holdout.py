"""Which train games are kept from training to validate on: single games, and whole floor plans.

Chosen by digest and not by seed: every run on the same games holds out the same ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from duomem.base.files import digest_of
from duomem.base.trajectory import Trajectory

VALIDATED = 64
"""Most episodes measured of each kind, so that a validation takes seconds."""


def floor_plan(group: str) -> str:
    """The floor plan's number in a task-and-room name: "301" of "pick_and_place_simple-Mug-None-Desk-301"."""
    return group.rpartition("-")[2]


@dataclass(frozen=True)
class HoldOut:
    """games: digests of single games; rooms: floor plans of which no game is trained on."""

    games: frozenset[str]
    rooms: frozenset[str]

    def has(self, game: str, group: str) -> bool:
        """Whether a game, or a memory of it, is kept from training."""
        return game in self.games or floor_plan(group) in self.rooms

    def validation(self, trajectories: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
        """Held-out won episodes of known rooms ("games") and of rooms never seen ("rooms"), one a game."""
        found: dict[str, dict[str, Trajectory]] = {"games": {}, "rooms": {}}
        for t in sorted((t for t in trajectories if t.won and self.has(t.game, t.group)), key=lambda t: _rank(t.game)):
            chosen = found["rooms" if floor_plan(t.group) in self.rooms else "games"]
            if len(chosen) < VALIDATED:
                chosen.setdefault(t.game, t)
        return {kind: list(chosen.values()) for kind, chosen in found.items() if chosen}


def hold_out(trajectories: Sequence[Trajectory], games_share: float, rooms_share: float) -> HoldOut:
    """Hold out these shares of the games and, of each kind of room, of the floor plans, rounded up."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for t in trajectories:
        kinds[floor_plan(t.group)[:-2]].add(floor_plan(t.group))  # 1-30 kitchens, 201-230 living rooms, ...
    rooms = frozenset(room for kind in kinds.values() for room in _first(kind, rooms_share))
    games = {t.game for t in trajectories if floor_plan(t.group) not in rooms}
    return HoldOut(frozenset(_first(games, games_share)), rooms)


def _first(names: Iterable[str], share: float) -> list[str]:
    ordered = sorted(names, key=_rank)
    return ordered[:math.ceil(len(ordered) * share)]


def _rank(name: str) -> str:
    return digest_of(["held out", name])
