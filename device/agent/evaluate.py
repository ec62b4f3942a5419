"""Playing a whole split: resumable, parallel, and summed up by task type with confidence intervals.

The episode file it leaves is a trajectory file too, so a student's own rollouts can become memories.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from duomem.core.cpu import usable_cores
from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.errors import UserError
from duomem.core.files import read_jsonl, sha256_input
from duomem.core.parallel import Jobs, map_processes, process_count
from duomem.core.progress import progress
from duomem.core.reading import digest_of
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.stats import wilson
from duomem.core.trajectory import TRAIN_SPLIT, from_json
from duomem.device.agent.agent import Agent, Episode
from duomem.device.agent.prompt import PROMPT_VERSION
from duomem.device.agent.second_look import AFTER
from duomem.device.alfworld.annotations import TEMPLATES, Goals, Task, told_record
from duomem.device.engine.manifest import MANIFEST
from duomem.device.world.game import Game
from duomem.device.world.worlds import load_world, world_record
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import MAX_MEMORIES


class Player(Protocol):
    """Plays games, one after the other."""

    def play(self, game: Game, split: str | None = None, /) -> Episode:
        """Play `game` to the end. split: recorded in the trajectory."""
        ...


class PlayerConfig(Protocol):
    """What an evaluation is of: a compiled student (EvalConfig) or a baseline without a model (baseline_player.py).

    label: in progress bars. pack: the memories played with, None for none. goals: the words that tell the games' goals.
    world: name of the games' world.
    """

    @property
    def label(self) -> str: ...

    @property
    def pack(self) -> Path | None: ...

    @property
    def goals(self) -> Goals: ...

    @property
    def world(self) -> str: ...

    def record(self) -> dict[str, Any]:
        """What identifies it, by content. Raises UserError for a missing file."""
        ...

    def load_player(self, processes: int) -> Player:
        """The player in one of so many processes that play at once."""
        ...


@dataclass(frozen=True)
class PlayConfig:
    """How an episode goes, whichever student plays it.

    k: most memories shown. max_steps: most steps of an episode. context_length: most tokens it may take, the bundle's
    own if None. device, action_filter, reminder,
    second_look: see Agent.load.
    """

    k: int = MAX_MEMORIES
    max_steps: int = 50
    context_length: int | None = None
    device: str = "auto"
    action_filter: bool = True
    reminder: bool = True
    second_look: bool = True


@dataclass(frozen=True)
class EvalConfig:
    """What an evaluation is of.

    bundle: folder of a compiled student. pack: its memories, None for none. protocol: see Agent.load. play: how
    an episode goes. goals: the words that tell the games' goals. chat_examples: see Agent.load. world: name of the
    games' world.
    """

    bundle: Path
    pack: Path | None = None
    protocol: str = "constrained"
    play: PlayConfig = PlayConfig()
    goals: Goals = TEMPLATES
    chat_examples: Path | None = None
    world: str = DEFAULT_WORLD

    def __post_init__(self) -> None:
        """A link in the bundle's path is followed once, for every process that plays."""
        object.__setattr__(self, "bundle", self.bundle.resolve())

    @property
    def label(self) -> str:
        """In progress bars."""
        return self.protocol

    def record(self) -> dict[str, Any]:
        """What identifies it, by content. Raises UserError for a missing bundle or pack."""
        play = self.play
        return {
            "bundle": sha256_input(self.bundle / MANIFEST, "bundle"),
            "pack": None if self.pack is None else read_pack(self.pack).content_digest,
            "protocol": self.protocol,
            "k": play.k if self.pack else 0,
            "max_steps": play.max_steps,
            "context_length": play.context_length,
            "prompt_version": PROMPT_VERSION,
            "action_filter": play.action_filter,
            **({} if play.device == "auto" else {"device": play.device}),
            **({} if play.reminder else {"reminder": False}),
            **({"second_look": AFTER} if play.second_look and self.pack and not self.chat_examples else {}),
            **({} if self.chat_examples is None else self._chat_record(self.chat_examples)),
            **world_record(self.world),
        }

    def load_player(self, processes: int) -> Agent:
        """The agent in one of so many processes that play at once: each has its share of the cores."""
        os.environ["TVM_NUM_THREADS"] = str(max(1, usable_cores() // processes))
        return load_agent(self)

    @staticmethod
    def _chat_record(examples: Path) -> dict[str, str]:
        return {"prompt": "chat", "chat_examples": sha256_input(examples, "trajectory file")}


def load_agent(config: EvalConfig, overlay: Overlay | None = None) -> Agent:
    """The agent that `config` describes, its engine loaded from the bundle; overlay: see Agent.load, never that of an
    evaluation. Raises what Agent.load raises.
    """
    return Agent.load(
        config.bundle,
        pack=config.pack,
        protocol=config.protocol,
        chat_examples=config.chat_examples,
        overlay=overlay,
        world=load_world(config.world),
        **asdict(config.play),
    )


@dataclass(frozen=True)
class _EvalWorker:
    """Makes the worker of one of `processes` processes: it plays a task."""

    config: PlayerConfig
    split: str
    processes: int

    def __call__(self) -> Callable[[Task], dict[str, Any]]:
        player = self.config.load_player(self.processes)
        load_game = load_world(self.config.world).load_game
        return lambda task: episode_row(player.play(task.load(load_game), self.split))


def episode_row(episode: Episode) -> dict[str, Any]:
    """An episode as JSON: its trajectory, and beside it what it cost."""
    return episode.trajectory.to_json() | {
        "memories": [m.id for m in episode.memories],
        "memory_texts": [m.text() for m in episode.memories],
        "seconds": round(episode.seconds, 3),
        "prefilled": episode.prefilled,
        "decoded": episode.decoded,
        "ended": episode.ended,
        **({"choices": [choice.to_json() for choice in episode.choices]} if episode.choices else {}),
    }


def read_episodes(path: Path) -> list[dict[str, Any]]:
    """The rows of an episode file. Raises UserError naming the line and field that is wrong."""
    rows = list(read_jsonl(path, "episode file"))
    for number, row in enumerate(rows, 1):
        from_json(row, f"{path}: line {number}")
        for field in ("seconds", "prefilled", "decoded"):
            if not isinstance(row.get(field), (int, float)):
                raise UserError(f"{path}: line {number}: field {field} is not a number: give a file of `duomem eval`")
    return rows


def inputs_of(config: PlayerConfig, games: Sequence[Path], split: str) -> dict[str, Any]:
    """What identifies an evaluation, by content. Raises UserError for a missing bundle, pack, game or annotation."""
    return (
        config.record()
        | {"split": split, "games": digest_of([sha256_input(g, "game") for g in games])}
        | told_record(config.goals, config.goals.tasks(games))
    )


def episode_file(folder: Path, config: PlayerConfig, games: Sequence[Path], split: str) -> Path:
    """The episode file of these inputs in `folder`, named by their digest: what was played is not played again."""
    return folder / f"{digest_of(inputs_of(config, games, split))[:16]}.jsonl"


def evaluate(
    config: PlayerConfig, games: Sequence[Path], split: str, out: Path, jobs: Jobs = 1
) -> list[dict[str, Any]]:
    """Play `games`, each once for each sentence of `config.goals`, and write one row an episode to a file, in order.

    config: an EvalConfig, or that of a baseline. games: files, as find_games lists them. split: which one they are of.
    out: episode file to write (.jsonl). jobs: processes, or a RayPool. An interrupted run of the same inputs is
    resumed, a finished one only read.

    Returns the rows, for `summarize`. Raises UserError without games, or if the pack holds memories of them.
    """
    inputs = inputs_of(config, games, split)
    if not games:
        raise UserError(f"no {split} games to play: see `duomem games list`")
    _refuse_known(config, games, split)
    tasks = config.goals.tasks(games)
    with ResumableJsonl(out, inputs) as lines:
        if lines.done:
            return lines.rows
        left = tasks[len(lines.rows) :]
        processes = max(1, min(process_count(jobs), len(left)))
        won = sum(row["won"] for row in lines.rows)
        with progress(None, config.label, len(tasks), "games", len(lines.rows)) as bar:
            for row in map_processes(_EvalWorker(config, split, processes), left, jobs):
                lines.append(row)
                won += row["won"]
                bar.update()
                bar.note(f"{won} won")
        lines.finish()
        return lines.rows


def _refuse_known(config: PlayerConfig, games: Sequence[Path], split: str) -> None:
    """UserError if the pack tells of validation games that are to be played, by their digests. Train games may be
    played with the pack they went into: no player is shown a game's own memory.
    """
    if config.pack is None or split == TRAIN_SPLIT:
        return
    told = {game for memory in read_pack(config.pack).memories for game, _ in memory.sources}
    known = told & {sha256_input(g, "game") for g in games}
    if known:
        raise UserError(
            f"{config.pack}: holds memories of {len(known)} of these {split} games: success with it "
            "would mean nothing, give a pack of train games"
        )


@dataclass(frozen=True)
class Score:
    """Success over episodes.

    n, wins: episodes played and won. success: share of them that were won. low, high: its 95 % Wilson interval.
    steps, seconds, tokens: means over the episodes; tokens are those run through the student.
    """

    n: int
    wins: int
    success: float
    low: float
    high: float
    steps: float
    seconds: float
    tokens: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, numbers to four decimals."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def summarize(rows: Iterable[dict[str, Any]]) -> dict[str, Score]:
    """Score of the rows of `evaluate` by task type, sorted, and under "all" of the whole."""
    groups: dict[str, list[dict[str, Any]]] = {}
    everything = list(rows)
    for row in everything:
        groups.setdefault(row["task_type"], []).append(row)
    return {name: _score(group) for name, group in [*sorted(groups.items()), ("all", everything)]}


def _score(rows: Sequence[dict[str, Any]]) -> Score:
    n, wins = len(rows), sum(bool(r["won"]) for r in rows)
    low, high = wilson(wins, n)

    def mean(values: Iterable[float]) -> float:
        return sum(values) / max(1, n)

    return Score(
        n,
        wins,
        wins / max(1, n),
        low,
        high,
        mean(len(r["steps"]) for r in rows),
        mean(r["seconds"] for r in rows),
        mean(r["prefilled"] + r["decoded"] for r in rows),
    )
