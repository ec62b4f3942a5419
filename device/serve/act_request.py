"""What `/v1/act` is told, checked: the first call's goal and scene, later calls' observations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from duomem.core.files import is_sha256
from duomem.device.serve.api_error import wrong
from duomem.device.serve.body import Fields
from duomem.device.world.env import Observation

_LONGEST_ID = 64
_LONGEST_GOAL = 500
_LONGEST_TEXT = 20_000
_LONGEST_COMMAND = 200
_MOST_COMMANDS = 2000
_TASK = re.compile(r"\s*Your task is to: [^\n]*")


@dataclass(frozen=True)
class ActCall:
    """One call. session: of the episode, None for a new one. observation: what the last command brought, or the intro;
    its `admissible` is empty where the client lists no commands. game: digest of the game, of which no memory is shown,
    "" for none.
    """

    session: str | None
    observation: Observation
    game: str

    @property
    def protocol(self) -> str:
        """The agent's protocol that the call asks for."""
        return "constrained" if self.observation.admissible else "free"


def read_act(body: dict[str, Any]) -> ActCall:
    """The call of a `/v1/act` body. Raises ApiError."""
    fields = Fields(body)
    fields.only({"session", "goal", "observation", "admissible", "game"})
    session = fields.text("session", _LONGEST_ID)
    goal = fields.text("goal", _LONGEST_GOAL)
    text = fields.text("observation", _LONGEST_TEXT)
    game = fields.text("game", 64) or ""
    commands = fields.texts("admissible", _MOST_COMMANDS, _LONGEST_COMMAND) or ()
    if text is None:
        raise wrong("observation", "is missing: send what the last command brought, or the room's first description")
    if not all(command.isprintable() for command in commands):
        raise wrong("admissible", "holds a command with characters that are not printable")
    if session is not None:
        for name in ("goal", "game"):
            if fields.has(name):
                raise wrong(name, "belongs to an episode's first call, which has no session: leave it out")
    elif game and not is_sha256(game):
        raise wrong("game", "is not a SHA-256 in 64 hex digits")
    else:
        text = _intro(goal, text)
    return ActCall(session, Observation(text.strip(), commands, False, False), game)


def _intro(goal: str | None, text: str) -> str:
    """The intro as ALFWorld writes it: the scene, then the goal."""
    if goal is None:
        if _TASK.search(text) is None:
            raise wrong("goal", "is missing: send it, or an observation that says 'Your task is to: ...'")
        return text
    if not goal.strip() or not goal.isprintable():
        raise wrong("goal", "is not one printable line")
    return f"{_TASK.sub('', text).strip()}\n\nYour task is to: {goal.strip()}"
