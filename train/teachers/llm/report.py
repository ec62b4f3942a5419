"""What a teacher's trajectories hold: success by task type, what it cost, and some episodes to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duomem.core.chat.budget import Prices
from duomem.core.errors import TrajectoryError
from duomem.core.files import read_jsonl
from duomem.core.reading import digest_of
from duomem.core.stats import wilson
from duomem.core.trajectory import Trajectory, from_json

ENDED = ("won", "steps", "context", "unanswered")
"""See Rollout.ended."""


@dataclass(frozen=True)
class Row:
    """Of one task type, or of all. games: in one wording each, won: at least once; low, high: 95 % Wilson interval of
    their share. tries, solutions: episodes played, and different wins, over all games. prompt_tokens,
    completion_tokens, cost: over all tries. steps, seconds: means over the episodes kept, and over the tries.
    """

    games: int
    won: int
    success: float
    low: float
    high: float
    tries: int
    solutions: int
    steps: float
    prompt_tokens: int
    completion_tokens: int
    cost: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, numbers to four decimals."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class TeacherReport:
    """rows: by task type, sorted, and under "all" of the whole. ended: how episodes ended. players: who played.
    samples: some won and some lost episodes, alternately.
    """

    rows: dict[str, Row]
    ended: dict[str, int]
    players: tuple[str, ...]
    samples: tuple[Trajectory, ...]


@dataclass
class _Tally:
    games: dict[str, set[str]] = field(default_factory=dict)
    episodes: int = 0
    tries: int = 0
    steps: int = 0
    prompt: int = 0
    completion: int = 0
    seconds: float = 0.0

    def add(self, t: Trajectory) -> None:
        wins = self.games.setdefault(t.task_id, set())
        if t.won:
            wins.add(digest_of([step.action for step in t.steps]))
        self.episodes += 1
        self.steps += len(t.steps)
        self.tries += t.usage.tries if t.usage else 1
        if t.usage:
            self.prompt += t.usage.prompt_tokens
            self.completion += t.usage.completion_tokens
            self.seconds += t.usage.seconds

    def row(self, prices: Prices) -> Row:
        games, won = len(self.games), sum(bool(wins) for wins in self.games.values())
        return Row(
            games,
            won,
            won / max(1, games),
            *wilson(won, games),
            self.tries,
            sum(map(len, self.games.values())),
            self.steps / max(1, self.episodes),
            self.prompt,
            self.completion,
            prices.cost(self.prompt, self.completion),
            self.seconds / max(1, self.tries),
        )


def read_report(file: Path, prices: Prices | None = None, samples: int = 4) -> TeacherReport:
    """What a trajectory file of any teacher holds. samples: most episodes to show. Raises TrajectoryError naming the
    line and field that is wrong.
    """
    tallies: dict[str, _Tally] = {}
    whole, ended, players = _Tally(), Counter[str](), Counter[str]()
    shown: dict[bool, list[Trajectory]] = {True: [], False: []}
    for number, row in enumerate(read_jsonl(file, "trajectory file"), 1):
        t = from_json(row, f"{file}: line {number}")
        how = row.get("ended", "won" if t.won else "steps")
        if how not in ENDED:
            raise TrajectoryError(f"{file}: line {number}: field ended is none of {', '.join(ENDED)}: make it again")
        ended[how] += 1
        players[t.player] += 1
        for tally in (tallies.setdefault(t.task_type, _Tally()), whole):
            tally.add(t)
        if len(shown[t.won]) < samples:
            shown[t.won].append(t)
    rows = {name: tally.row(prices or Prices()) for name, tally in [*sorted(tallies.items()), ("all", whole)]}
    return TeacherReport(rows, dict(ended), tuple(sorted(players)), tuple(_alternately(shown))[:samples])


def _alternately(shown: dict[bool, list[Trajectory]]) -> Iterable[Trajectory]:
    for i in range(max(map(len, shown.values()))):
        yield from (found[i] for found in shown.values() if i < len(found))
