"""Goals in people's own words: the annotations beside a game, in the `traj_data.json` that ALFWorld's download brings.

The sentences are ALFRED's; they are read where they lie. The file is untrusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from duomem.core.episode_words import TEMPLATE
from duomem.core.errors import GameError
from duomem.core.reading import digest_of, open_regular, parse_json
from duomem.device.alfworld.game import load_game

ANNOTATIONS_FILE = "traj_data.json"
GOALS = (TEMPLATE, "human")

_MAX_BYTES = 8 << 20  # ALFRED's largest has some 300 kB
_MAX_ANNOTATIONS = 100
_MAX_LETTERS = 500
AnyGame = TypeVar("AnyGame", bound=Any)


def read_annotations(game: Path | str) -> tuple[str, ...]:
    """People's sentences for the goal of a game, in the order of the file beside it.

    Each is one line; letters that cannot be printed are left out (ALFRED has one sentence with a backspace in it).
    game: path of a game.tw-pddl. Raises GameError naming the file and the field if there are none.
    """
    file = Path(game).parent / ANNOTATIONS_FILE
    try:
        with open_regular(file) as f:
            data = f.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise GameError(
            f"{file}: no such file: this game has no goals in people's words; get them with `alfworld-download`, or "
            "play with --goals template"
        ) from None
    except OSError as e:
        raise GameError(f"{file}: cannot read these annotations ({e.strerror or e}): check its permissions") from None
    fields = parse_json(data, f"{file}: annotations", _MAX_BYTES)
    turk = fields.get("turk_annotations") if isinstance(fields, dict) else None
    rows = turk.get("anns") if isinstance(turk, dict) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= _MAX_ANNOTATIONS:
        raise GameError(
            f"{file}: field turk_annotations.anns is not a list of 1 to {_MAX_ANNOTATIONS} annotations: get the file "
            "again with `alfworld-download`"
        )
    found = []
    for number, row in enumerate(rows):
        text = row.get("task_desc") if isinstance(row, dict) else None
        sentence = _line(text) if isinstance(text, str) else ""
        if not 0 < len(sentence) <= _MAX_LETTERS:
            raise GameError(
                f"{file}: field turk_annotations.anns[{number}].task_desc is not a line of at most {_MAX_LETTERS} "
                "letters: get the file again with `alfworld-download`"
            )
        found.append(sentence)
    return tuple(found)


@dataclass(frozen=True)
class Task:
    """A game and the words its goal is told in. path: the game file; annotation: which of its annotations, from 0
    on, None for the template's sentence.
    """

    path: Path
    annotation: int | None = None

    def load(self, load_game: Callable[[Path], Any] = load_game) -> Any:
        """The game, told so. load_game: the world's, ALFWorld's by default. Raises GameError as load_game and
        read_annotations do, or for an annotation it lacks.
        """
        game, sentence = load_game(self.path), self.sentence()
        return game if sentence is None else tell(game, sentence, self.goal_source)

    def sentence(self) -> str | None:
        """The person's sentence, read from the file beside the game; None for the template's."""
        return None if self.annotation is None else _pick(self.path, self.annotation)

    @property
    def goal_source(self) -> str:
        """Whose words: "template" or "human:N"."""
        return TEMPLATE if self.annotation is None else f"human:{self.annotation}"


@dataclass(frozen=True)
class Goals:
    """Which sentences tell the goals of games. kind: of GOALS. annotation: which of a game's annotations where kind is
    "human", from 0 on; None for all of them, each a task of its own.
    """

    kind: str = TEMPLATE
    annotation: int | None = 0

    def __post_init__(self) -> None:
        if self.kind not in GOALS:
            raise GameError(f"goals {self.kind!r} are none of {', '.join(GOALS)}")

    def __str__(self) -> str:
        """As in records: "template", "human:0", "human:all"."""
        return self.kind if self.kind == TEMPLATE else f"human:{'all' if self.annotation is None else self.annotation}"

    def tasks(self, games: Sequence[Path]) -> list[Task]:
        """The tasks of `games`, in order. Raises GameError for a game without the annotation."""
        if self.kind == TEMPLATE:
            return [Task(path) for path in games]
        if self.annotation is None:
            return [Task(path, number) for path in games for number in range(len(read_annotations(path)))]
        for path in games:
            _pick(path, self.annotation)
        return [Task(path, self.annotation) for path in games]


TEMPLATES = Goals()
"""The games' own sentences."""


def told_record(goals: Goals, tasks: Sequence[Task]) -> dict[str, str]:
    """What identifies the words of `tasks`, by content: nothing for the games' own."""
    if goals.kind == TEMPLATE:
        return {}
    return {"goals": str(goals), "sentences": digest_of([task.sentence() for task in tasks])}


def tell(game: AnyGame, sentence: str, source: str = "own") -> AnyGame:
    """The same game, of this or another world, with its goal told as `sentence`; what wins it is as before. source: see
    Trajectory.goal_source.

    Raises GameError if the sentence is no line.
    """
    sentence = _line(sentence)
    if not 0 < len(sentence) <= _MAX_LETTERS:
        raise GameError(f"a goal must be a line of 1 to {_MAX_LETTERS} printable letters: {sentence[:40]!r} is none")
    told: Any = game
    return replace(told, task=sentence, goal_source=source)


def _line(text: str) -> str:
    return " ".join("".join(c for c in text if c.isprintable() or c.isspace()).split())


def _pick(path: Path, annotation: int) -> str:
    sentences = read_annotations(path)
    if annotation >= len(sentences):
        raise GameError(
            f"{path.parent / ANNOTATIONS_FILE}: has {len(sentences)} annotations, none of number {annotation}: give "
            f"--annotation 0 to {len(sentences) - 1}, or all"
        )
    return sentences[annotation]
