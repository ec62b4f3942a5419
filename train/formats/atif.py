"""ATIF, the Agent Trajectory Interchange Format (Harbor, version 1.7): a JSON file an episode, in a folder.

A command is a call of the tool `act`, what it brought that call's observation, a thought its `reasoning_content`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from duomem.core.errors import FileError, TrajectoryError
from duomem.core.files import atomic_folder
from duomem.core.trajectory import Trajectory
from duomem.train.formats.rows import names_in, objects, read_whole, text_of, told_of_turns
from duomem.train.formats.told import OURS, Readings, Told, say, told_of

SCHEMA_VERSION = "ATIF-v1.7"
_KNOWN = "ATIF-v1."
_TOOL = "act"
_LIMIT = 64 << 20
_COMMANDS = ("command", "action", "input")
"""Arguments of a foreign tool call that hold a command."""


def write(episodes: Iterable[Trajectory], out: Path) -> int:
    """Write a file an episode to the folder `out`; returns how many."""
    number = 0
    with atomic_folder(out) as folder:
        for number, played in enumerate(episodes, 1):
            text = json.dumps(_document(played, number), indent=1, ensure_ascii=False)
            (folder / f"episode-{number:06d}.json").write_text(text + "\n", encoding="utf-8")
    return number


def _document(played: Trajectory, number: int) -> dict[str, Any]:
    told = told_of(played)
    facts = dict(told.facts or {})
    steps: list[dict[str, Any]] = [{"step_id": 1, "source": "user", "message": told.observations[0]}]
    for step, own, seen in zip(played.steps, facts.pop("steps"), told.observations[1:], strict=True):
        own = {field: value for field, value in own.items() if field not in ("action", "thought")}
        call = f"call_{len(steps)}"
        row = {
            "step_id": len(steps) + 1,
            "source": "agent",
            "message": step.action,
            "tool_calls": [{"tool_call_id": call, "function_name": _TOOL, "arguments": {"command": step.action}}],
            "observation": {"results": [{"source_call_id": call, "content": seen}]},
            "extra": {OURS: own},
        }
        steps.append(row | ({"reasoning_content": step.thought} if step.thought else {}))
    document = {
        "schema_version": SCHEMA_VERSION,
        "session_id": f"{played.player}/{number}",
        "agent": {"name": "duomem", "version": _version(), "model_name": played.player},
        "steps": steps,
        "extra": {OURS: facts},
    }
    if played.usage is not None:
        prompt, completion = played.usage.prompt_tokens, played.usage.completion_tokens
        document["final_metrics"] = {"total_prompt_tokens": prompt, "total_completion_tokens": completion}
    return document


def _version() -> str:
    try:
        return version("duomem")
    except PackageNotFoundError:
        return "unknown"


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
