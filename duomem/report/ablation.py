"""The ablation grid: {no, self, teacher memory} x {base, LoRA}, baselines and the teacher, played on the same games.

Each condition's episodes are a file named by what it was made from: a grid stops and goes on anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duomem.core.episode_words import DEFAULT_WORLD
from duomem.core.errors import ReportError
from duomem.core.files import sha256_input
from duomem.core.parallel import Jobs
from duomem.core.trajectory import read_trajectories, task_id
from duomem.device.agent.baseline_player import MatcherConfig, RandomConfig
from duomem.device.agent.evaluate import EvalConfig, PlayConfig, PlayerConfig, episode_file, evaluate
from duomem.device.alfworld.annotations import TEMPLATES, Goals
from duomem.memory_packs.manifest import PROGRAM
from duomem.memory_packs.pack import Pack, read_pack
from duomem.report.condition import Condition, ConditionResult, read_result

NONE, SELF, TEACHER = "no memory", "self memory", "teacher memory"
BASE, LORA = "base", "LoRA"
TAUGHT = {"expert": "programmatic expert", "llm": "LLM teacher", "reward": "reward"}
NOT_STATED = "not stated"
_ITSELF = "student:"


@dataclass(frozen=True)
class Student:
    """A compiled student. seed: name of its training run, "" for a base model; own: the pack of its own wins."""

    bundle: Path
    seed: str = ""
    own: Path | None = None


@dataclass(frozen=True)
class AblationGrid:
    """base, lora: the students of each kind, LoRA ones one a training seed; taught: what the LoRA learnt from, a
    key of TAUGHT. pack: the teacher's memories; teacher: a teacher's own episodes on these games.
    rows: other episodes on these games, by the name of their row. world: name of the games' world.
    """

    base: tuple[Student, ...]
    lora: tuple[Student, ...]
    taught: str
    pack: Path | None
    teacher: Path | None
    protocols: tuple[str, ...]
    play: PlayConfig
    goals: Goals = TEMPLATES
    rows: tuple[tuple[str, Path], ...] = ()
    world: str = DEFAULT_WORLD


@dataclass(frozen=True)
class PlannedCondition:
    """A condition to be played. configs: the evaluation that each of its files is of."""

    condition: Condition
    configs: tuple[PlayerConfig, ...]


def plan(grid: AblationGrid, games: Sequence[Path], split: str, folder: Path) -> list[PlannedCondition]:
    """The conditions in the order they are played, baselines in every panel; episodes go to `folder`. Raises
    ReportError for a missing bundle or pack, for a pack that another than the student or the teacher wrote, and if
    there is no student.
    """
    if not grid.base and not grid.lora:
        raise ReportError("no student to play: give --base, --lora or both")
    baselines = _plan_baselines(grid, games, split, folder)
    planned: list[PlannedCondition] = []
    for protocol in grid.protocols:
        planned += [
            _plan_condition(grid, protocol, series, memory, games, split, folder)
            for series in (BASE, LORA)
            for memory in (NONE, SELF, TEACHER)
        ]
        planned += [replace(entry, condition=replace(entry.condition, panel=protocol)) for entry in baselines]
    return [entry for entry in planned if entry.configs]


def run_grid(
    grid: AblationGrid, planned: Sequence[PlannedCondition], games: Sequence[Path], split: str, jobs: Jobs
) -> Iterator[ConditionResult]:
    """Play what is not played yet; yields each condition when it is done, after a protocol's students and baselines
    the other rows and the teacher, whose files are read before anything is played. Raises ReportError.
    """
    played = [task_id(sha256_input(task.path, "game"), task.goal_source) for task in grid.goals.tasks(games)]
    others = [Condition(name, NOT_STATED, (file,)) for name, file in grid.rows]
    if grid.teacher is not None:
        others.append(Condition("teacher", f"is the {_player(grid.teacher)}", (grid.teacher,)))
    given = [read_result(condition, played) for condition in others]
    for protocol in grid.protocols:
        for entry in planned:
            if entry.condition.panel == protocol:
                for config, file in zip(entry.configs, entry.condition.files, strict=True):
                    evaluate(config, games, split, file, jobs)
                yield read_result(entry.condition)
        for result in given:
            yield replace(result, condition=replace(result.condition, panel=protocol))


def _plan_condition(
    grid: AblationGrid, protocol: str, series: str, memory: str, games: Sequence[Path], split: str, folder: Path
) -> PlannedCondition:
    students = grid.base if series == BASE else grid.lora
    chosen = [(student, _pack(grid, student, memory)) for student in students]
    playing = [(student, pack) for student, pack in chosen if memory == NONE or pack is not None]
    read = [None if pack is None else read_pack(pack) for _, pack in playing]
    packs = [pack for pack in read if pack is not None]
    for pack in packs:
        _check_author(pack, memory)
    # An empty pack plays as none does: the same episodes count.
    configs = tuple(
        EvalConfig(
            student.bundle,
            file if pack is not None and pack.memories else None,
            protocol,
            grid.play,
            grid.goals,
            world=grid.world,
        )
        for (student, file), pack in zip(playing, read, strict=True)
    )
    taught = [f"LoRA: {TAUGHT[grid.taught]}"] if series == LORA else []
    if packs:
        taught.append(f"memory: {_writers(packs)}")
    condition = Condition(
        f"{series}, {memory}",
        "; ".join(taught) or "nothing",
        tuple(episode_file(folder, config, games, split) for config in configs),
        tuple(student.seed for student, _ in playing),
        protocol,
        series,
        memory,
    )
    return PlannedCondition(condition, configs)


def _plan_baselines(grid: AblationGrid, games: Sequence[Path], split: str, folder: Path) -> list[PlannedCondition]:
    """What plays without a model, by the students' rules: the same episodes for every protocol."""
    steps, goals, world = grid.play.max_steps, grid.goals, grid.world
    rows: list[tuple[str, str, PlayerConfig]] = [
        ("random", "nothing", RandomConfig(max_steps=steps, goals=goals, world=world)),
        (
            "random, action filter",
            "nothing",
            RandomConfig(max_steps=steps, action_filter=True, goals=goals, world=world),
        ),
    ]
    if grid.pack is not None:
        taught = f"memory: {_writers([read_pack(grid.pack)])}"
        rows.append(
            (f"matcher, {TEACHER}", taught, MatcherConfig(grid.pack, grid.play.k, steps, goals=goals, world=world))
        )
    return [
        PlannedCondition(Condition(name, taught, (episode_file(folder, config, games, split),)), (config,))
        for name, taught, config in rows
    ]


def _pack(grid: AblationGrid, student: Student, memory: str) -> Path | None:
    return {NONE: None, SELF: student.own, TEACHER: grid.pack}[memory]


def _check_author(pack: Pack, memory: str) -> None:
    if pack.author.startswith(_ITSELF) != (memory == SELF):
        raise ReportError(
            f"pack {pack.name} (sha256 {pack.digest[:12]}): its memories are by {pack.author}, that is no "
            f"{memory}: give the pack of the {'student' if memory == SELF else 'teacher'}"
        )


def _player(file: Path) -> str:
    """Who played a file's episodes, in words."""
    return _named(next((t.player for t in read_trajectories(file)), NOT_STATED))


def _named(player: str) -> str:
    """A player in words: "LLM teacher qwen3" of "llm:qwen3"."""
    kind, _, name = player.partition(":")
    return f"{TAUGHT[kind]} {name}" if kind in TAUGHT and name else TAUGHT.get(player.partition("/")[0], player)


def _writers(packs: Sequence[Pack]) -> str:
    """Who played what the packs tell, who put it into words if not the program, and how many memories there are."""
    names = dict.fromkeys(
        ("itself" if pack.author.startswith(_ITSELF) else _named(pack.author))
        + ("" if pack.writer == PROGRAM else f" in the words of {_named(str(pack.writer))}")
        for pack in packs
    )
    return f"{', '.join(names)} ({' / '.join(f'{len(pack.memories):,}' for pack in packs)} memories)"
