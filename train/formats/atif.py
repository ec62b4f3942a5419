"""ATIF, the Agent Trajectory Interchange Format: a JSON file an episode, in a folder.

What is written is made in core/atif.py; here are the folder, and reading what duomem and others wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from duomem.core.atif import document_text, file_name
from duomem.core.errors import FileError, TrajectoryError
from duomem.core.files import atomic_folder
from duomem.core.told import OURS, Readings, Told, say
from duomem.core.trajectory import Trajectory
from duomem.train.formats.rows import names_in, objects, read_whole, text_of, told_of_turns

_KNOWN = "ATIF-v1."
_LIMIT = 64 << 20
_COMMANDS = ("command", "action", "input")
"""Arguments of a foreign tool call that hold a command."""


def write(episodes: Iterable[Trajectory], out: Path) -> int:
    """Write a file an episode to the folder `out`; returns how many."""
    number = 0
    with atomic_folder(out) as folder:
        for number, played in enumerate(episodes, 1):
            (folder / file_name(number)).write_text(document_text(played, number), encoding="utf-8")
    return number


def read(path: Path) -> Readings:
    """The episodes of a file, or of all *.json files in a folder. Raises FileError."""
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files:
        raise FileError(f"{path}: no *.json file in this folder: give one of ATIF files")
    for file in files:
        yield str(file), partial(_told, read_whole(file, "ATIF file", _LIMIT), str(file))


def _told(document: Any, where: str) -> Told:
    if not isinstance(document, dict) or not str(document.get("schema_version")).startswith(_KNOWN):
        raise TrajectoryError(f"{where}: field schema_version is none of {_KNOWN}x: give files in ATIF version 1")
    steps = objects(document.get("steps"), f"{where}: field steps")
    facts = _ours(document)
    if facts is None:
        return told_of_turns(_turns(steps, where), document, None, where)
    observations, heard, own = [], [], []
    for number, step in enumerate(steps, 1):
        at = f"{where}: steps[{number - 1}]"
        if step.get("source") != "agent":
            observations.append(text_of(step.get("message"), at))
            continue
        heard.append((str(step.get("reasoning_content", "")), _command(step) or ""))
        observations.append(_seen(step, at) or "")
        own.append(_ours(step) or {})
    said = tuple(say(*step) for step in heard)
    return Told(tuple(observations), said, tuple(heard), names_in(document), {**facts, "steps": own})


def _turns(steps: list[dict[str, Any]], where: str) -> list[tuple[str, str]]:
    """A foreign file's steps as a conversation: an agent's step is what it said or called, and what that brought."""
    turns: list[tuple[str, str]] = []
    for number, step in enumerate(steps, 1):
        at = f"{where}: steps[{number - 1}]"
        if step.get("source") == "agent":
            thought, command = str(step.get("reasoning_content") or ""), _command(step)
            turns.append(("assistant", text_of(step.get("message"), at) if command is None else say(thought, command)))
            seen = _seen(step, at)
            turns += [] if seen is None else [("user", seen)]
        elif step.get("source") == "user":
            turns.append(("user", text_of(step.get("message"), at)))
    return turns


def _command(step: Mapping[str, Any]) -> str | None:
    """The command that a step's tool call has, None if it has none."""
    calls = step.get("tool_calls")
    if not isinstance(calls, list) or len(calls) != 1 or not isinstance(calls[0], dict):
        return None
    arguments = calls[0].get("arguments")
    found = (arguments.get(name) for name in _COMMANDS) if isinstance(arguments, dict) else ()
    return next((value for value in found if isinstance(value, str)), None)


def _seen(step: Mapping[str, Any], where: str) -> str | None:
    """What a step's command brought, None if it says nothing of that."""
    observation = step.get("observation")
    if observation is None:
        return None
    results = objects(
        observation.get("results") if isinstance(observation, dict) else None, f"{where}.observation.results"
    )
    return "\n".join(text_of(result.get("content") or "", f"{where}.observation") for result in results)


def _ours(holder: Mapping[str, Any]) -> dict[str, Any] | None:
    extra = holder.get("extra")
    ours = extra.get(OURS) if isinstance(extra, dict) else None
    return ours if isinstance(ours, dict) else None
