"""The one error a user ever sees: one line that says what is wrong, where, and what to do next.

The `duomem` command prints it without a traceback and exits non-zero.
"""

from __future__ import annotations


class UserError(Exception):
    """A mistake or a missing thing outside the program: bad file, wrong flag, absent tool.

    The message is one line and names the file, the field and the fix. Programming errors are never
    wrapped in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
