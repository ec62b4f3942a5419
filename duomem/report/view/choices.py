"""What a row of an episode file says beside the trajectory: why each command was chosen, memories, costs.

All of it may be missing, as in files of teachers; what is there is checked, whoever wrote it.
"""

from __future__ import annotations

from typing import Any

from duomem.core.errors import TrajectoryError

_MOST = 1000
"""Candidates of a step, withheld commands of it, and memories of an episode: duomem writes far fewer."""
_LARGEST = 1e12


def check_extras(row: dict[str, Any], steps: int, where: str) -> None:
    """Raises TrajectoryError naming `where` and the field that is wrong. steps: how many the episode has."""
    for field in ("seconds", "prefilled", "decoded"):
        if row.get(field) is not None and not _is_number(row[field], _LARGEST):
            raise TrajectoryError(f"{where}: field {field} is not a number from 0 on: play it again")
    if not isinstance(row.get("ended", ""), str):
        raise TrajectoryError(f"{where}: field ended is not a text: play it again")
    ids, texts = row.get("memories"), row.get("memory_texts")
    for field, value in (("memories", ids), ("memory_texts", texts)):
        if value is not None and not _are_texts(value):
            raise TrajectoryError(f"{where}: field {field} is not a list of at most {_MOST} texts: play it again")
    if texts is not None and len(texts) != len(ids or ()):
        raise TrajectoryError(f"{where}: field memory_texts has not one text for each of memories: play it again")
    choices = row.get("choices")
    if choices and (not isinstance(choices, list) or len(choices) != steps):
        raise TrajectoryError(f"{where}: field choices has not one for each of {steps} steps: play it again")
    for number, choice in enumerate(choices or (), 1):
        if choice is not None and not _is_choice(choice):
            raise TrajectoryError(f"{where}: field choices is malformed at step {number}: play it again")


def _is_choice(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    candidates = choice.get("candidates")
    return (
        isinstance(candidates, list)
        and len(candidates) <= _MOST
        and all(_is_candidate(candidate) for candidate in candidates)
        and _are_texts(choice.get("withheld"))
        and all(_is_number(choice.get(field), _LARGEST) for field in ("seconds", "prefilled", "decoded"))
    )


def _is_candidate(candidate: Any) -> bool:
    """A command and its probability, which rounding may have put just above 1."""
    return (
        isinstance(candidate, list)
        and len(candidate) == 2
        and isinstance(candidate[0], str)
        and _is_number(candidate[1], 1.001)
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST and all(isinstance(text, str) for text in value)


def _is_number(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most
