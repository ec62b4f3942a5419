"""One played episode as a line of JSON: what teachers and students write, packs and training read.

The file is append-only JSON lines, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from duomem.core.episode_words import DEFAULT_WORLD, TEMPLATE
from duomem.core.errors import TrajectoryError
from duomem.core.files import read_jsonl

SCHEMA = 2
TRAIN_SPLIT = "train"

_TYPES: dict[str, type] = {
    "game": str,
    "group": str,
    "split": str,
    "task_type": str,
    "object_type": str,
    "target_type": str,
    "goal": str,
    "goal_source": str,
    "template_goal": str,
    "intro": str,
    "steps": list,
    "last": str,
    "won": bool,
    "player": str,
    "seed": int,
}


def task_id(game: str, goal_source: str) -> str:
    """See Trajectory.task_id."""
    return game if goal_source == TEMPLATE else f"{game}/{goal_source}"


@dataclass(frozen=True)
class Step:
    """observation: what the player saw before acting; admissible: the commands that did something then;
    is_noise: the action was injected noise or another policy's, not the player's choice, and nothing to learn;
    thought: what the player said it thought before acting, if it said so.
    """

    observation: str
    admissible: tuple[str, ...]
    action: str
    is_noise: bool = False
    thought: str = ""


@dataclass(frozen=True)
class Usage:
    """What an episode cost a teacher that is asked over and over, as a language model is.

    tries: episodes it stands for, more than one where equal ones were dropped; answers: how often the model was asked;
    prompt_tokens, completion_tokens: as the model counted them, over all answers; seconds: wall time.
    """

    tries: int
    answers: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    def __add__(self, other: Usage) -> Usage:
        """Of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Usage(*(round(a + b, 3) for a, b in pairs))


@dataclass(frozen=True)
class Trajectory:
    """game: sha256 of the game file; group: its task-and-scene folder (TASK-OBJ-MOVABLE-RECEP-SCENE);
    object_type, target_type: what the goal is about, as in names ("mug", "coffeemachine"), "" where nothing is;
    goal: the sentence that was told; goal_source: whose it is ("template", "human:N" or "own"); template_goal: the
    game's own sentence;
    player: who played and its revision ("expert/1", "student:NAME", "llm:MODEL"); last: the observation after the
    last action; usage: what it cost, where that was counted; world: what it was played in.
    """

    game: str
    group: str
    split: str
    task_type: str
    object_type: str
    target_type: str
    goal: str
    goal_source: str
    template_goal: str
    intro: str
    steps: tuple[Step, ...]
    last: str
    won: bool
    player: str
    seed: int
    usage: Usage | None = None
    world: str = DEFAULT_WORLD

    @property
    def task_id(self) -> str:
        """What was played: the game's digest, and whose words told its goal if not its own."""
        return task_id(self.game, self.goal_source)

    @property
    def triple(self) -> tuple[str, str, str]:
        """What the goal is: (task type, object type, target type)."""
        return self.task_type, self.object_type, self.target_type

    def turns(self) -> list[tuple[str, str]]:
        """(action, observation after it) of every step."""
        after = [*(s.observation for s in self.steps), self.last][1:]
        return [(s.action, o) for s, o in zip(self.steps, after, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and objects, equal to what the file reads back as. What is not there is left out."""
        row = {"schema": SCHEMA, **vars(self), "steps": [_step_json(step) for step in self.steps]}
        usage = row.pop("usage")
        if self.world == DEFAULT_WORLD:
            del row["world"]
        return row if usage is None else row | {"usage": asdict(usage)}


def _step_json(step: Step) -> dict[str, Any]:
    row = {**vars(step), "admissible": list(step.admissible)}
    if not step.thought:
        del row["thought"]
    return row


def read_trajectories(path: Path) -> Iterator[Trajectory]:
    """The episodes of a trajectory file. Raises TrajectoryError naming the line and field that is wrong."""
    for number, row in enumerate(read_jsonl(path, "trajectory file"), 1):
        yield from_json(row, f"{path}: line {number}")


def read_train_trajectories(path: Path) -> Iterator[Trajectory]:
    """`read_trajectories` for whatever a student learns from: UserError at an episode of another split than train."""
    for number, trajectory in enumerate(read_trajectories(path), 1):
        if trajectory.split != TRAIN_SPLIT:
            raise TrajectoryError(
                f"{path}: line {number}: field split is {trajectory.split!r}: students learn from "
                f"{TRAIN_SPLIT} games only, give their trajectories"
            )
        yield trajectory


def from_json(row: dict[str, Any], where: str) -> Trajectory:
    """A Trajectory of its JSON form; UserError naming `where` and the field that is wrong."""
    if row.get("schema") != SCHEMA:
        raise TrajectoryError(
            f"{where}: field schema is {row.get('schema')!r}, this duomem reads {SCHEMA}: make it again"
        )
    for field, kind in _TYPES.items():
        if not isinstance(row.get(field), kind):
            raise TrajectoryError(f"{where}: field {field} is not a {kind.__name__}: make the trajectories again")
    steps = []
    for step in row["steps"]:
        good = (
            isinstance(step, dict)
            and isinstance(step.get("observation"), str)
            and isinstance(step.get("action"), str)
            and isinstance(step.get("admissible"), list)
            and all(isinstance(command, str) for command in step["admissible"])
            and isinstance(step.get("is_noise", False), bool)
            and isinstance(step.get("thought", ""), str)
        )
        if not good:
            raise TrajectoryError(f"{where}: field steps holds a malformed step: make the trajectories again")
        marks = step.get("is_noise", False), step.get("thought", "")
        steps.append(Step(step["observation"], tuple(step["admissible"]), step["action"], *marks))
    world = row.get("world", DEFAULT_WORLD)
    if not isinstance(world, str):
        raise TrajectoryError(f"{where}: field world is not a str: make the trajectories again")
    told = {field: row[field] for field in _TYPES if field != "steps"}
    return Trajectory(**told, steps=tuple(steps), usage=_usage(row.get("usage"), where), world=world)


def _usage(row: Any, where: str) -> Usage | None:
    if row is None:
        return None
    names = [field.name for field in fields(Usage)]
    if not isinstance(row, dict) or any(not _is_count(row.get(name), name == "seconds") for name in names):
        raise TrajectoryError(f"{where}: field usage does not count {', '.join(names)}: make the trajectories again")
    return Usage(*(row[name] for name in names))


def _is_count(value: Any, is_time: bool) -> bool:
    """Whether it is a number from 0 on, a whole one unless it is a time; NaN is none."""
    return isinstance(value, (int, float) if is_time else int) and not isinstance(value, bool) and 0 <= value < 1e15
