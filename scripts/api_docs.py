"""Writes docs/python-api.md from the docstrings of what `duomem` exports.

Run it as: python scripts/api_docs.py > docs/python-api.md
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import duomem

_INTRO = """# Python API

<!-- Written by scripts/api_docs.py from the docstrings: change those. -->

`import duomem` loads nothing heavy: each name is loaded when it is first used. A file or folder is a `Path` or, where
the signature says so, a `str`. Whatever a user can mend is raised as a `UserError`, whose message is one line.

```python
from duomem import Agent, load_game

agent = Agent.load("runs/bundle", pack="runs/expert.dmpack", protocol="constrained")
episode = agent.play(load_game("game.tw-pddl"))
print(episode.won, episode.commands)
```

Playing and memory packs need the base install. Games, teaching and training need the extras `train` and `official`,
compiling needs `compile`. [examples](../examples/README.md) holds three short programs that use this API.
"""
_SECTIONS = {
    "device": "Playing and evaluating",
    "memory_packs": "Memory packs",
    "compile": "Compiling",
    "train": "Games, teaching and training",
    "core": "Errors",
}
"""Headings by the package that a name comes from."""
_WIDTH = 100
_FIELD = re.compile(r"(?:^|(?<=[.;] ))(?=\w+(?:, \w+)*: )")
_OUTCOME = re.compile(r"(?:^|(?<=\. ))(?=(?:Returns|Raises) )")


def page() -> str:
    """The whole page."""
    parts, section = [_INTRO], ""
    for name, module in duomem._MODULES.items():
        package = module.split(".")[0]
        if package != section:
            section = package
            parts.append(f"## {_SECTIONS[section]}\n")
        parts.extend(_entry(name, getattr(duomem, name)))
    return "\n".join(parts)


def _entry(name: str, value: Any) -> Iterator[str]:
    """The parts of one exported name."""
    if not inspect.isclass(value):
        yield _function(f"### {name}", name, value)
    elif issubclass(value, Exception):
        yield f"### {name}\n\n{_prose(value)}\n\nIts kinds, all in `{value.__module__}`:\n"
        yield "\n".join(f"- `{kind.__name__}`: {inspect.getdoc(kind)}" for kind in _kinds(value)) + "\n"
    else:
        yield from _class(name, value)


def _kinds(error: type) -> Iterator[type]:
    """The subclasses defined beside `error`, each before its own."""
    for kind in error.__subclasses__():
        if kind.__module__ == error.__module__:
            yield kind
            yield from _kinds(kind)


def _class(name: str, cls: type) -> Iterator[str]:
    """A class, its public properties as a list, and its public methods."""
    constructor = vars(cls).get("__init__")
    if constructor is None:
        yield f"### {name}\n\n{_prose(cls)}\n"
    else:
        yield _function(f"### {name}", name, cls)
        if constructor.__doc__ and not dataclasses.is_dataclass(cls):
            yield f"{_prose(constructor)}\n"
    members = {member: value for member, value in vars(cls).items() if not member.startswith("_")}
    properties = [_property(m, v) for m, v in members.items() if isinstance(v, (property, cached_property))]
    if properties:
        yield "Properties:\n\n" + "\n".join(properties) + "\n"
    for member, value in members.items():
        if isinstance(value, classmethod):
            yield _function(f"#### {name}.{member}", f"{name}.{member}", getattr(cls, member))
        elif inspect.isfunction(value):
            yield _function(f"#### {name}.{member}", member, value)


def _property(name: str, value: property | cached_property[Any]) -> str:
    function = value.fget if isinstance(value, property) else value.func
    kind = inspect.signature(function).return_annotation if function else ""
    said = " ".join((inspect.getdoc(value) or "").split())
    return f"- `{name}: {kind}`{f': {said}' if said else ''}"


def _function(heading: str, name: str, value: Callable[..., Any]) -> str:
    return f"{heading}\n\n```python\n{_signature(name, value)}\n```\n\n{_prose(value)}\n"


def _prose(value: Any) -> str:
    """A docstring as Markdown: `name: what it is` of a parameter becomes an item, Returns and Raises paragraphs."""
    if inspect.isclass(value) and "__init__" not in vars(value):
        parameters: set[str] = set()
    else:
        parameters = set(inspect.signature(value).parameters)
    blocks: list[str] = []
    for paragraph in (inspect.getdoc(value) or "").split("\n\n"):
        said, *outcomes = [piece for piece in _OUTCOME.split(" ".join(paragraph.split())) if piece]
        items: list[str] = []
        for piece in _FIELD.split(said):
            names, colon, what = piece.partition(": ")
            if colon and set(names.split(", ")) <= parameters:
                items.append(f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {what.strip()}")
            elif piece and items:
                items[-1] += f" {piece.strip()}"
            elif piece:
                blocks.append(piece.strip())
        blocks.extend(["\n".join(items)] if items else [])
        blocks.extend(piece.strip() for piece in outcomes)
    return "\n\n".join(blocks)


def _signature(name: str, value: Callable[..., Any]) -> str:
    """As it is written, on one line or, if that is long, with a line a parameter."""
    signature = inspect.signature(value)
    shown: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(_parameter(parameter))
    returns = "" if inspect.isclass(value) else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(shown)}){returns}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {text}," for text in shown), f"){returns}"])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = f"{stars}{parameter.name}: {parameter.annotation}"
    return text if parameter.default is parameter.empty else f"{text} = {_default(parameter.default)}"


def _default(value: Any) -> str:
    if isinstance(value, (str, Path)):
        return json.dumps(str(value))
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    return "..." if callable(value) else repr(value)


if __name__ == "__main__":
    print(page(), end="")
