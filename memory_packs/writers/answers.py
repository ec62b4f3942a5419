"""The answers that a writer has given, as a file of JSON lines: what was asked once is not asked again.

A question is known by the digest of everything that is sent, so answers to other questions may stand in the file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from duomem.core.chat.model import Answer, Message
from duomem.core.claim import claimed, naming
from duomem.core.errors import FileError
from duomem.core.files import read_jsonl
from duomem.core.reading import digest_of, open_regular

_MOST_LETTERS = 100_000


class Answers:
    """The answers in the file `path`. Use as a context manager: no other process writes the file meanwhile.

    Raises FileError if the file is damaged, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._known: dict[str, Answer] = {}
        self._held = contextlib.ExitStack()
        self._file: IO[bytes] | None = None

    def find(self, asked: str) -> Answer | None:
        """The answer to the question of this digest, if it was ever given."""
        return self._known.get(asked)

    def add(self, asked: str, answer: Answer) -> Answer:
        """Keep an answer; it survives a crash of this process. Returns it as it is kept, bounded."""
        kept = Answer(answer.text[:_MOST_LETTERS], answer.prompt_tokens, answer.completion_tokens, answer.finished)
        line = json.dumps({"asked": asked, **vars(kept)})
        assert self._file is not None, "used without with"
        with naming(self.path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        self._known[asked] = kept
        return kept

    def __enter__(self) -> Answers:
        self._held.enter_context(claimed(self.path))
        try:
            self._known = read_answers(self.path)
            self._file = self._held.enter_context(_open_after_whole_lines(self.path))
        except BaseException:
            self._held.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def answers_beside(pack: Path) -> Path:
    """Where the answers stand that a pack file was written with."""
    return pack.with_name(pack.name + ".answers.jsonl")


def read_answers(path: Path) -> dict[str, Answer]:
    """The answers in a file, by the digest of what was asked; none if there is no file. Raises FileError."""
    if not path.exists():
        return {}
    known = {}
    for number, row in enumerate(read_jsonl(path, "file of answers"), 1):
        asked = row.pop("asked", None)
        try:
            answer = Answer(**row)
        except TypeError:
            answer = None
        kinds = (str, str, int, int, str)
        if answer is None or tuple(map(type, (asked, *vars(answer).values()))) != kinds:
            raise FileError(f"{path}: line {number} is no answer of a writer: delete the file, or write elsewhere")
        known[asked] = answer
    return known


def digest_of_question(model: str, messages: Sequence[Message], **options: Any) -> str:
    """What identifies a question: the model's name, the messages and the options of sampling."""
    return digest_of([model, [[m.role, m.content] for m in messages], options])


def _open_after_whole_lines(path: Path) -> IO[bytes]:
    """The file, to be written after its last whole line: one that a crash tore is cut off."""
    whole = 0
    if path.exists():
        with open_regular(path) as f:
            whole = sum(len(line) for line in f if line.endswith(b"\n"))
    file = open(path, "r+b" if path.exists() else "wb")  # noqa: SIM115
    file.truncate(whole)
    file.seek(whole)
    return file
