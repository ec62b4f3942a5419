"""The only place where task, memory, observations and actions become text and tokens.

Training and playing both build an episode here, segment by segment, so a KV cache only ever grows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from duomem.base.errors import UserError

PROMPT_VERSION = 1

SYSTEM = (
    "You solve household tasks. Reply to each > with one command: "
    "go to, open, close, take, move, clean, heat, cool, use, examine, look, inventory.\n"
)

_ROOM = re.compile(r"you see (an? [^.\n]*)\.")
_INSTANCE = re.compile(r"[0-9]{1,6}")
_GOAL = re.compile(r"Your task is to: ([^\n]*)")
_ARRIVE = re.compile(r"^You arrive at [^.]*\. ")
_OPENED = re.compile(r"^You open the [^.]*\. The [^.]* is open\. ")
_HELP = re.compile(r":  +[^\n]*")
_SEPARATOR = re.compile(r", and an? |, an? |,? and an? ")


def goal_sentence(intro: str) -> str:
    """The goal sentence of an episode's first observation ("put a clean mug in coffeemachine.").

    Raises UserError if the text holds none.
    """
    match = _GOAL.search(intro)
    if match is None:
        raise UserError("the game's intro holds no 'Your task is to: ...' line: not an ALFWorld game")
    return match.group(1).strip()


def receptacles(intro: str) -> list[str]:
    """The receptacles an intro lists, in its order: ["cabinet 2", "cabinet 1", "fridge 1"]."""
    match = _ROOM.search(intro)
    if match is None:
        return []
    return [name.strip() for name in _SEPARATOR.split(match.group(1)[2:].lstrip())]


def room_summary(intro: str) -> str:
    """The intro's receptacles as instance ranges: "cabinet 1-6, fridge 1". Raises UserError for other intros."""
    numbers: dict[str, list[int]] = {}
    for name in receptacles(intro):
        kind, _, number = name.rpartition(" ")
        if not _INSTANCE.fullmatch(number):
            raise UserError(f"the game's intro lists {name[:80]!r}, a place without a number: not an ALFWorld game")
        numbers.setdefault(kind, []).append(int(number))
    return ", ".join(f"{kind} {_ranges(sorted(found))}" for kind, found in numbers.items())


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return "+".join(f"{a}-{b}" if b > a else f"{a}" for a, b in parts)


def shorten(observation: str) -> str:
    """An observation on one line, without what the command before it already says and without the
    explanations of `help`; every object stays in it.
    """
    text = " ".join(_HELP.sub(";", _OPENED.sub("", _ARRIVE.sub("", observation.strip()))).split())
    return text.replace(", and a ", ", a ").replace(", a ", ", ").replace("you see a ", "you see ")


def head(intro: str, memories: Sequence[str] = ()) -> str:
    """What follows the system text: retrieved memories, then the task and the room."""
    lines = [f"Memory: {memory}\n" for memory in memories]
    return "".join([*lines, f"Task: {goal_sentence(intro)}\n", f"Room: {room_summary(intro)}.\n>"])


def turn(observation: str) -> str:
    """The text between an action and the next one."""
    return f"{shorten(observation)}\n>"


def action(command: str) -> str:
    """A command as the student writes it, its closing newline included."""
    return f" {command}\n"


@dataclass(frozen=True)
class Segment:
    """A piece of an episode; `student` marks the tokens the student writes (and is trained on)."""

    tokens: tuple[int, ...]
    student: bool


class PromptTokenizer:
    """Turns the pieces above into token ids with a student's own tokenizer.

    Every piece is encoded on its own and without special tokens, in training and in playing alike.
    """

    def __init__(self, path: Path) -> None:
        """`path`: a tokenizer.json, or the folder that holds one. Raises UserError."""
        file = path / "tokenizer.json" if path.is_dir() else path
        if not file.is_file():
            raise UserError(f"{file}: no such tokenizer: copy the model's tokenizer.json there")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            newline = self.encode("\n")
        except Exception as e:  # the library raises a bare Exception for a bad file
            raise UserError(f"{file}: not a tokenizer ({e}): copy the model's tokenizer.json again") from None
        if not newline:
            raise UserError(f"{file}: this tokenizer has no token for a newline: take a model of another kind")
        self.newline = newline[-1]

    def encode(self, text: str) -> list[int]:
        """Token ids of one piece."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)

    def system(self) -> list[int]:
        """The fixed first tokens of every episode; an engine prefills them once and forks."""
        return self.encode(SYSTEM)

    def head(self, intro: str, memories: Sequence[str] = ()) -> list[int]:
        return self.encode(head(intro, memories))

    def turn(self, observation: str) -> list[int]:
        return self.encode(turn(observation))

    def action(self, command: str) -> list[int]:
        return self.encode(action(command))

    def episode(self, intro: str, steps: Sequence[tuple[str, str]], memories: Sequence[str] = (),
                stumbles: Collection[int] = ()) -> list[Segment]:
        """A whole played episode: `steps` are (command, observation after it), of which those numbered in
        `stumbles` (from 0) are not the student's own. The last observation is left out: nothing is written
        after it.
        """
        segments = [Segment(tuple(self.system() + self.head(intro, memories)), False)]
        for i, (command, observation) in enumerate(steps):
            segments.append(Segment(tuple(self.action(command)), i not in stumbles))
            if i + 1 < len(steps):
                segments.append(Segment(tuple(self.turn(observation)), False))
        return segments
