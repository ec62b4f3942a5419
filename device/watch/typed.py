"""What a person types while they play."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from duomem.core.chat.faults import NoAnswer

PROMPT = "a number, or a command in words; q stops: "
_LONGEST_COMMAND = 200
"""Characters that a person may type."""


def read_command(commands: Sequence[str], prompt: str, read: Callable[[str], str] | None = None) -> str:
    """What a person types: the number of a command, or a command in words. Asks again for what is neither.

    Raises NoAnswer for q and at the end of the input.
    """
    while True:
        try:
            said = " ".join((read or input)(prompt).split())
        except EOFError:
            raise NoAnswer("the player stopped") from None
        if said.lower() in ("q", "quit", "exit"):
            raise NoAnswer("the player stopped")
        if said.isdecimal() and len(said) <= 4:
            if 1 <= int(said) <= len(commands):
                return commands[int(said) - 1]
            print(f"there are commands 1 to {len(commands)}", file=sys.stderr)
        elif said and len(said) <= _LONGEST_COMMAND and said.isprintable():
            return said
