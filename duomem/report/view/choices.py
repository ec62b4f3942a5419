"""What a row of an episode file says beside the trajectory: why each command was chosen, memories, costs.

All of it may be missing, as in files of teachers; what is there is checked, whoever wrote it.
"""

from __future__ import annotations

from typing import Any

from duomem.core.errors import TrajectoryError
from duomem.device.agent.choice import are_texts, is_amount, read_choice

_MOST = 1000
"""Memories of an episode: duomem writes far fewer."""


def check_extras(row: dict[str, Any], steps: int, where: str) -> None:
    """Raises TrajectoryError naming `where` and the field that is wrong. steps: how many the episode has."""
    for field in ("seconds", "prefilled", "decoded"):
        if row.get(field) is not None and not is_amount(row[field]):
            raise TrajectoryError(f"{where}: field {field} is not a number from 0 on: play it again")
    if not isinstance(row.get("ended", ""), str):
        raise TrajectoryError(f"{where}: field ended is not a text: play it again")
    ids, texts = row.get("memories"), row.get("memory_texts")
    for field, value in (("memories", ids), ("memory_texts", texts)):
        if value is not None and not are_texts(value, _MOST):
            raise TrajectoryError(f"{where}: field {field} is not a list of at most {_MOST} texts: play it again")
    if texts is not None and len(texts) != len(ids or ()):
        raise TrajectoryError(f"{where}: field memory_texts has not one text for each of memories: play it again")
    choices = row.get("choices")
    if choices and (not isinstance(choices, list) or len(choices) != steps):
        raise TrajectoryError(f"{where}: field choices has not one for each of {steps} steps: play it again")
    for number, choice in enumerate(choices or (), 1):
        if choice is not None and read_choice(choice) is None:
            raise TrajectoryError(f"{where}: field choices is malformed at step {number}: play it again")
