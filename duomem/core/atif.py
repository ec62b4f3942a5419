"""An episode as a document of ATIF, the Agent Trajectory Interchange Format (Harbor, version 1.7).

A command is a call of the tool `act`, what it brought that call's observation, a thought its `reasoning_content`.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from duomem.core.told import OURS, told_of
from duomem.core.trajectory import Trajectory

SCHEMA_VERSION = "ATIF-v1.7"
_TOOL = "act"


def file_name(number: int) -> str:
    """The name of the file that holds episode `number` of a trajectory file, from 1 on."""
    return f"episode-{number:06d}.json"


def document_text(played: Trajectory, number: int) -> str:
    """What that file holds."""
    return json.dumps(document(played, number), indent=1, ensure_ascii=False) + "\n"


def document(played: Trajectory, number: int) -> dict[str, Any]:
    """The document of a trajectory. number: its place in its file, from 1 on: part of the session's name."""
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
