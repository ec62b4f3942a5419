"""What a device learns while it plays, beside a pack that stays as it was signed: uses and wins of each entry, and
memories the student won for itself. An append-only journal; a crash costs at most the episode being written.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from duomem.core.claim import naming
from duomem.core.disk import sync_folder
from duomem.core.errors import FileError, PackError
from duomem.core.reading import open_regular, parse_json, sha256_bytes
from duomem.core.trajectory import TRAIN_SPLIT
from duomem.core.user_folders import data_folder
from duomem.memory_packs.memory import Memory, memory_from_json
from duomem.memory_packs.pack import Pack
from duomem.memory_packs.retriever import NEAR_TIE, Retriever

FORMAT = "duomem-overlay"
SCHEMA = 1
MIN_USES = 3
"""Uses from which on an entry may rest."""
MIN_WINS = 0.5
"""Share of uses that were won below which it does."""

_SIZE_LIMIT = 16 << 20
_LINE_LIMIT = 1 << 20
_SHOWN_LIMIT = 100
_ID_LIMIT = 64
_CHECK = 16


def default_path(pack: Pack) -> Path:
    """Where the overlay of `pack` is kept unless told otherwise: in the user's data folder, by the pack's digest."""
    return data_folder() / "overlays" / f"{pack.digest[:16]}.jsonl"


class Overlay:
    """The journal at `path` of one pack, and memories as it makes them be shown.

    Each line is a check sum and a JSON object: first the pack's digest, then one an episode: what was shown, whether it
    was won, and a new memory. A line that does not check, as the last one after a crash, counts as not written.
    Several processes may write to one journal.
    """

    def __init__(self, path: Path, pack: Pack) -> None:
        """Reads what is there; nothing is written before the first episode. Raises FileError if `path` cannot be read,
        PackError if it is another pack's or no overlay.
        """
        self.path = Path(path)
        self._pack = pack
        self._header = _line({"format": FORMAT, "schema": SCHEMA, "pack": pack.digest})
        self._ids = {memory.id for memory in pack.memories}
        self._uses: Counter[str] = Counter()
        self._wins: Counter[str] = Counter()
        self._own: dict[str, tuple[Memory, str]] = {}
        self._read = 0
        self._begun = False
        self._retriever: Retriever | None = None
        try:
            with open_regular(self.path) as f:
                self._catch_up(f.fileno())
        except FileNotFoundError:
            return
        except OSError as e:
            raise FileError(f"{self.path}: cannot read this overlay: {e.strerror or e}") from None

    @property
    def memories(self) -> tuple[Memory, ...]:
        """What the student won for itself, in order."""
        return tuple(memory for memory, _ in self._own.values())

    def counts(self) -> dict[str, tuple[int, int]]:
        """Entry id -> (uses, wins), for entries of the pack and own memories that were shown, sorted."""
        return {id: (self._uses[id], self._wins[id]) for id in sorted(self._uses)}

    def rests(self, memory: Memory) -> bool:
        """Whether it was shown MIN_USES times or more and won less than MIN_WINS of them."""
        uses = self._uses[memory.id]
        return uses >= MIN_USES and self._wins[memory.id] < MIN_WINS * uses

    def search(
        self,
        task: str,
        k: int = 1,
        keep: Callable[[Memory], bool] = lambda m: True,
        places: Collection[str] = (),
        near_tie: float = NEAR_TIE,
    ) -> list[tuple[float, Memory]]:
        """As Retriever.search over the pack's memories and then the student's own; but another memory of the same goal
        stands for one that rests. If all of a goal rest, the one with the best share of wins is shown.
        """
        if self._retriever is None:
            self._retriever = Retriever((*self._pack.memories, *self.memories), self._pack.lexicon)
        found: list[tuple[float, Memory]] = []
        shown: set[str] = set()
        for nearness, memory in self._retriever.search(task, k, keep, places, near_tie):
            if self.rests(memory) or memory.id in shown:
                others = [m for m in self._of_goal(memory) if keep(m) and m.id not in shown]
                awake = [m for m in others if not self.rests(m)]
                if not others:
                    continue
                memory = awake[0] if awake else max(others, key=self._share)
            found.append((nearness, memory))
            shown.add(memory.id)
        return found

    def record(
        self, shown: Sequence[Memory], won: bool, memory: Memory | None = None, split: str = TRAIN_SPLIT
    ) -> None:
        """Write down an episode; it is on the disk when this returns.

        shown: the memories it was played with. won: its end. memory: what it won, see write_memory; one that is known,
        or that no pack could hold, is not kept. split: of its game.
        Raises FileError if the journal is full, OSError if it cannot be written.
        """
        row: dict[str, Any] = {"shown": [m.id for m in shown[:_SHOWN_LIMIT]], "won": won}
        with naming(self.path), self._locked() as file:
            self._catch_up(file)
            if memory is not None and self._is_news(memory):
                row |= {"memory": memory.to_json(), "split": split}
            data = (b"" if self._begun else self._header) + _line(row)
            if os.fstat(file).st_size + len(data) > _SIZE_LIMIT:
                raise FileError(f"{self.path}: this overlay is full: export it, then remove it")
            if os.fstat(file).st_size != self._read:  # a line torn by a crash is ended, so that it is a line alone
                data = b"\n" + data
            _write(file, data)
            os.fsync(file)
            self._catch_up(file)

    def export(self) -> Iterator[dict[str, Any]]:
        """What the pack's maintainer needs for its next version: a row for each entry that was shown, and for each own
        memory of a train game. Of other splits none: nothing a student is measured on may become a memory.
        """
        for id, (uses, wins) in self.counts().items():
            yield {"id": id, "uses": uses, "wins": wins}
        for memory, split in self._own.values():
            if split == TRAIN_SPLIT:
                yield {"memory": memory.to_json()}

    def _share(self, memory: Memory) -> float:
        return self._wins[memory.id] / max(1, self._uses[memory.id])

    def _of_goal(self, one: Memory) -> list[Memory]:
        """Memories of the goal of `one`; where it is about nothing with a name, its sentence tells it."""
        everything = (*self._pack.memories, *self.memories)
        return [m for m in everything if m.triple == one.triple and (one.object_type or m.task == one.task)]

    def _is_news(self, memory: Memory) -> bool:
        try:
            readable = memory_from_json(memory.to_json(), "own memory")
        except PackError:
            return False
        return readable.id not in self._ids and readable.id not in self._own

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The journal, open to be read and appended to by this process alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not self._begun:
                sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)

    def _catch_up(self, file: int) -> None:
        """Read the whole lines that were written since, by whichever process."""
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SIZE_LIMIT:
            raise FileError(f"{self.path}: not an overlay, or of more than {_SIZE_LIMIT} bytes: remove it")
        if status.st_size < self._read:
            raise FileError(f"{self.path}: this overlay was replaced while it was in use: play again")
        data = os.pread(file, status.st_size - self._read, self._read)
        whole = data.rfind(b"\n") + 1
        known = len(self._own)
        for line in data[:whole].splitlines(keepends=True):
            self._take(line)
        if not self._begun:
            self._begin(data[whole:])
        self._read += whole
        if len(self._own) > known:
            self._retriever = None

    def _take(self, line: bytes) -> None:
        """Count what a line says; nothing if it does not check."""
        if not self._begun or line == self._header:
            return self._begin(line)
        check, _, body = line.removesuffix(b"\n").partition(b" ")
        if len(line) > _LINE_LIMIT or _check_sum(body) != check:
            return
        row = parse_json(body, f"{self.path}: a line", _LINE_LIMIT)
        if not isinstance(row, dict):
            raise PackError(f"{self.path}: a line is not a JSON object: remove this overlay")
        shown, memory, split = row.get("shown"), row.get("memory"), row.get("split", "")
        if not isinstance(shown, list) or len(shown) > _SHOWN_LIMIT or not all(map(_is_id, shown)):
            raise PackError(f"{self.path}: field shown of a line is not a list of entries: remove this overlay")
        self._uses.update(set(shown))
        self._wins.update(set(shown) if row.get("won") is True else ())
        if memory is not None:
            own = memory_from_json(memory, f"{self.path}: memory of a line")
            self._own.setdefault(own.id, (own, str(split)))

    def _begin(self, line: bytes) -> None:
        """The first line is the header; before it may be one that a crash cut."""
        self._begun = line == self._header
        if not self._header.startswith(line.removesuffix(b"\n")):
            raise PackError(
                f"{self.path}: is no overlay of the pack {self._pack.name} as it is here: give another file"
            )


def _line(row: dict[str, Any]) -> bytes:
    body = json.dumps(row, sort_keys=True).encode()
    return _check_sum(body) + b" " + body + b"\n"


def _check_sum(body: bytes) -> bytes:
    return sha256_bytes(body)[:_CHECK].encode()


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _ID_LIMIT and value.isprintable()


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
