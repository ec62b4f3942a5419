"""What the fuzzer knows of a reader of what comes from elsewhere: a sound sample, and ways to damage it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from mutate import change_bytes


class Reader:
    """name: of the reader. sample: sound bytes it takes. damage(random): other bytes. read(file): take the bytes in
    `file` as the program would; anything but a UserError that leaves it is a finding.
    """

    name: str
    sample: bytes

    def __init__(self, folder: Path) -> None:
        """folder: empty, for what the reader needs on disk."""
        self.folder = folder
        self.prepare()

    def prepare(self) -> None:
        """Make the sample."""

    def damage(self, random: Random) -> bytes:
        return change_bytes(self.sample, random)

    def read(self, file: Path) -> None:
        raise NotImplementedError


def state(reader: Reader, seed: int) -> Any:
    """The random state of a reader's input of this number."""
    return Random(f"{reader.name}/{seed}")
