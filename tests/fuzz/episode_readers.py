"""The readers of what others write of episodes: trajectory files in their formats, and what a writer answers."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from mug_episodes import LIST, LOST, WON, told, write_told
from mutate import as_json, change_bytes, change_json, change_text
from reader import Reader

from duomem.core.chat.model import Answer
from duomem.memory_packs.memory import memory_from_json
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.writers.answer import fault_of, read_steps
from duomem.memory_packs.writers.vocabulary import Vocabulary
from duomem.train.formats.convert import export_trajectories, import_trajectories
from duomem.train.formats.find_game import GameFinder

_MOST_BYTES = 4 << 20
"""Of an input: an object of Python takes up to thirty times the bytes that write it."""


class Episodes(Reader):
    """One episode in one of four formats, with duomem's field or without; in half of them values are changed."""

    name = "episodes"

    def prepare(self) -> None:
        source = write_told(self.folder / "t.jsonl", [told(0, WON[1:3])])
        self.samples = []
        for name in ("chat", "eto", "atif", "hf"):
            out = self.folder / name
            export_trajectories(source, out, name)
            if out.is_dir():
                [out] = [path for path in out.rglob("*.json*")]
            self.samples.append((name, out.read_bytes()))
        self.sample = b"chat\n" + self.samples[0][1]

    def damage(self, random: Random) -> bytes:
        """The format's name, a line, and the bytes."""
        name, data = random.choice(self.samples)
        value = json.loads(data)
        how = random.random()
        if how < 0.2:
            for holder in [value, *(value if isinstance(value, list) else [])]:
                if isinstance(holder, dict):
                    holder.pop(random.choice(("duomem", "extra", "schema")), None)
        if how < 0.7:
            changed = as_json(change_json(value, random))
            if len(changed) < _MOST_BYTES:
                return name.encode() + b"\n" + changed + b"\n" * random.randrange(2)
        return name.encode() + b"\n" + change_bytes(data, random)

    def read(self, file: Path) -> None:
        name, _, data = file.read_bytes().partition(b"\n")
        form = name.decode(errors="replace")
        known = form if form in ("chat", "eto", "atif", "hf") else "chat"
        (self.folder / "in").write_bytes(data)
        import_trajectories(self.folder / "in", self.folder / "out", known, lambda: GameFinder([], "train", "x"))


class WriterAnswers(Reader):
    """A good list, damaged. What is taken of it is an entry that a pack can hold."""

    name = "answers"

    def prepare(self) -> None:
        self.sample = f"{LIST}\n7. avoid take mug from shelf".encode()
        won = told()
        self.draft, self.words = write_memory(won), Vocabulary.of(won, told(0, LOST, won=False))

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.5:
            return change_bytes(self.sample, random)
        return change_text(self.sample.decode(), random).encode("utf-8", "replace")

    def read(self, file: Path) -> None:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        steps = read_steps(text)
        if fault_of(steps, Answer(text, 1, 1, "stop"), self.draft, self.words, 20):
            memory_from_json({}, "no entry")
        memory_from_json({**self.draft.to_json(), "steps": steps}, "an entry")
        if foreign := [c for step in steps for c in step if not (c.isascii() and c.isprintable())]:
            raise ValueError(f"{foreign[0]!r} is in an entry")
