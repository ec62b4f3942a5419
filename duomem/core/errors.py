"""What a user ever sees of an error: one line that says what is wrong, where, and what to do next.

The `duomem` command prints it without a traceback. Every type is a `UserError`, so a caller may catch one or all.
"""

from __future__ import annotations

_LONGEST = 2000


def printable(text: str, replacement: str = "?") -> str:
    """`text` with every character that a terminal does not show replaced: controls (C0, C1), marks that turn the
    direction of writing, halves of surrogate pairs.
    """
    return "".join(c if c.isprintable() else replacement for c in text)


class UserError(Exception):
    """A mistake or a missing thing outside the program: bad file, wrong flag, absent tool.

    The message is one printable line, whatever it quotes, and names the file, the field and the fix. Programming
    errors are never wrapped in it.
    """

    def __init__(self, message: str) -> None:
        line = printable(" ".join(message.split()))
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)


class FileError(UserError):
    """A file or folder that is missing, unreadable, damaged, or in the way of one to be written."""


class ConfigError(UserError):
    """A student config, target file or description with a wrong or missing field."""


class GameError(UserError):
    """Games that are missing, damaged, or not of ALFWorld."""


class TrajectoryError(UserError):
    """Recorded episodes that are damaged or not of the split they are needed from."""


class PackError(UserError):
    """A memory pack that is missing, damaged, or not one duomem wrote."""


class CatalogueError(UserError):
    """A catalogue of packs that cannot be reached, or whose content is not signed as it should be."""


class ModelError(UserError):
    """A model folder, tokenizer or LoRA adapter that is missing, damaged, or of an unknown kind."""


class ChatError(UserError):
    """A chat model that cannot be reached, or that refuses what it is asked."""


class TrainError(UserError):
    """Teaching or training that cannot go on with what it was given."""


class CompileError(UserError):
    """A model that cannot be compiled or exported for a target with the tools that are here."""


class GateError(CompileError):
    """A compiled library that does not compute or choose what the reference model does."""


class BundleError(UserError):
    """A bundle or kit that is missing, damaged, or for another machine."""


class DeviceError(UserError):
    """A device that lacks the memory, driver or library to run a bundle."""


class DeployError(UserError):
    """A device that cannot be reached, or that refuses a step of a deploy."""


class ReportError(UserError):
    """Results that cannot be compared."""
