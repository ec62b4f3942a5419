"""Prompt styles: how a teacher is told the rules, and how it is to answer; data files beside this module.

An episode's messages only ever grow, so that a server's prefix cache holds all of them but the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeGuard

from duomem.core.chat.model import Message
from duomem.core.errors import ConfigError
from duomem.core.files import read_toml
from duomem.core.reading import digest_of

STYLES = ("react", "action", "student")
"""Those that duomem brings, styles/NAME.toml."""
_EXAMPLES = "examples.toml"
_COMMANDS = "{commands}"
_TEXTS = ("system", "new_game", "admissible", "answer")


@dataclass(frozen=True)
class Turn:
    """observation: what the command brought."""

    thought: str
    action: str
    observation: str


@dataclass(frozen=True)
class Example:
    """A game of the train split, played. game: digest of its file."""

    game: str
    intro: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Style:
    """name, version: of the file. system: the rules. new_game: before a game's first observation. admissible: before
    the commands that do something now, {commands} in it; empty where they are not listed. answer: how an example
    answers, {thought} and {action} in it. stop: what an answer is cut at. examples: played games that are shown.
    """

    name: str
    version: int
    system: str
    new_game: str
    admissible: str
    answer: str
    stop: tuple[str, ...]
    examples: tuple[Example, ...]

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all that a model is told."""
        told = [self.system, self.new_game, self.admissible, self.answer, self.stop]
        return digest_of([*told, [(e.intro, [vars(t) for t in e.turns]) for e in self.examples]])

    def record(self) -> dict[str, Any]:
        """What identifies it."""
        return {"style": self.name, "version": self.version, "digest": self.digest}

    def opening(self) -> list[Message]:
        """The messages before every game: the rules, and the examples as games already played."""
        messages = [Message("system", self.system)]
        for example in self.examples:
            shown = self.new_game + example.intro
            for turn in example.turns:
                messages.append(Message("user", shown))
                told = self.answer.replace("{thought}", turn.thought).replace("{action}", turn.action)
                messages.append(Message("assistant", told))
                shown = turn.observation
        return messages

    def seen(self, observation: str, commands: Sequence[str], first: bool = False) -> Message:
        """What is told before an answer. commands: the admissible ones. first: whether a game begins."""
        listed = self.admissible.replace(_COMMANDS, ", ".join(commands))
        return Message("user", self.new_game * first + observation + listed)


def find_style(name: str) -> Style:
    """A style of STYLES, or one in a TOML file. Raises UserError naming the file and the field."""
    if not name.endswith(".toml"):
        if name not in STYLES:
            raise ConfigError(f"--style {name}: is none of {', '.join(STYLES)}: give one of them, or a TOML file")
        with as_file(files("duomem.train.teachers.llm") / "styles" / f"{name}.toml") as path:
            return _read(path, name)
    return _read(Path(name), Path(name).stem)


def _read(path: Path, name: str) -> Style:
    table = read_toml(path, "prompt style")
    if unknown := sorted(table.keys() - {"version", "stop", "examples", *_TEXTS}):
        raise ConfigError(f"{path}: field {unknown[0]} is unknown: a style has version, stop, examples and {_TEXTS}")
    for field in _TEXTS:
        if not isinstance(table.get(field), str):
            raise ConfigError(f"{path}: field {field} is not a text: see styles/react.toml")
    version, stop, count = table.get("version"), table.get("stop", []), table.get("examples", 0)
    if not _is_number(version) or not _is_number(count):
        raise ConfigError(f"{path}: fields version and examples are not whole numbers from 0 on")
    if not isinstance(stop, list) or len(stop) > 4 or not all(isinstance(text, str) and text for text in stop):
        raise ConfigError(f"{path}: field stop is not a list of at most 4 texts")
    for field, mark in (("admissible", _COMMANDS), ("answer", "{action}")):
        if mark not in table[field] and (table[field] or field == "answer"):
            raise ConfigError(f"{path}: field {field} does not hold {mark}")
    texts = {field: table[field] for field in _TEXTS}
    return Style(name=name, version=version, stop=tuple(stop), examples=_examples()[:count], **texts)


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _examples() -> tuple[Example, ...]:
    with as_file(files("duomem.train.teachers.llm") / _EXAMPLES) as path:
        table = read_toml(path, "examples")
    return tuple(
        Example(one["game"], one["intro"].strip(), tuple(Turn(**turn) for turn in one["turns"]))
        for one in table["examples"]
    )
