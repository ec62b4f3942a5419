"""The readers of what memories come in: packs, skills, overlays."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from random import Random

from mutate import as_json, change_bytes, change_json, change_text
from reader import Reader

from duomem.core.reading import sha256_bytes
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.pack import read_pack, write_pack
from duomem.memory_packs.skills import export_skills, import_skills

_SHIPPED = Path(__file__).parents[2] / "shipped" / "packs" / "alfworld-expert.dmpack"
_TYPE = "pick_and_place_simple"
_MEMORIES = [
    Memory(f"put a {thing} in desk.", _TYPE, thing, "desk", ("go to desk 1", f"take {thing} 1"), "f" * 64, f"g {thing}")
    for thing in ("mug", "pan", "pot")
]
_SKILL = """---
name: house-pick-and-place-simple
description: 'How to cool a pan. Use when a pan is hot.'
license: MIT
metadata:
  task-type: pick_cool_then_place_in_recep
  object-type: pan
---

# Cool a pan

Find the **pan** first, see [the kitchen](kitchen.md).

1. Go to the `stove` and take the pan.
2. Open the fridge, cool the pan with it.
   - A full fridge will do.

```text
take pan 1 from stove 1
```
"""


class Packs(Reader):
    """Half of the damage is inside the members, under digests that fit."""

    name = "packs"

    def prepare(self) -> None:
        with zipfile.ZipFile(_SHIPPED) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        rows = members["memories.jsonl"].split(b"\n")[:20]
        self.members = {**members, "memories.jsonl": b"\n".join(rows) + b"\n"}
        self.sample = _pack(self.members)

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.5:
            return change_bytes(self.sample, random)
        name = random.choice(list(self.members))
        lines = self.members[name].split(b"\n") if name.endswith("l") else [self.members[name]]
        at = random.randrange(max(1, len(lines) - 1))
        if random.random() < 0.5:
            lines[at] = as_json(change_json(json.loads(lines[at]), random))
        else:
            lines[at] = change_bytes(lines[at], random)
        return _pack({**self.members, name: b"\n".join(lines)})

    def read(self, file: Path) -> None:
        read_pack(file).search("put a clean mug in the desk")


def _pack(members: dict[str, bytes]) -> bytes:
    """A pack whose manifest, if it is one still, tells the digests of the other members."""
    try:
        manifest = json.loads(members["manifest.json"])
        for value in manifest.values():
            if isinstance(value, dict) and value.get("file") in members:
                data = members[value["file"]]
                fits = {"sha256": sha256_bytes(data), "bytes": len(data), "count": data.count(b"\n")}
                value.update({name: fits[name] for name in fits if name in value})
        members = {**members, "manifest.json": as_json(manifest)}
    except (ValueError, AttributeError, TypeError, RecursionError):
        pass
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class Skills(Reader):
    """A skill of others or an exported one: bytes, words and lines of it."""

    name = "skills"

    def prepare(self) -> None:
        pack = write_pack(self.folder / "house.dmpack", "house", "expert/1", "", _MEMORIES)
        [self.file] = export_skills(pack, self.folder / "skills")
        self.sample = _SKILL.encode()
        self.texts = [_SKILL, self.file.read_text()]

    def damage(self, random: Random) -> bytes:
        text = random.choice(self.texts)
        how = random.random()
        if how < 0.3:
            return change_bytes(text.encode(), random)
        if how < 0.6:
            return change_text(text, random).encode("utf-8", "replace")
        lines = text.split("\n")
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(lines))
            line = random.choice(
                [
                    *lines,
                    "```sh",
                    "~~~",
                    "---",
                    "<!-- x -->",
                    "allowed-tools: Bash",
                    "metadata: {a: b}",
                    "name: &a x",
                    "1. " + "[" * 5000,
                    "# " + "**" * 20_000,
                    "- [a](" * 3000,
                    "1. " + "a" * 40_000,
                    "1. x\n" * 5000,
                ]
            )
            lines[at : at + random.randrange(2)] = [line]
        return "\n".join(lines).encode()

    def read(self, file: Path) -> None:
        self.file.write_bytes(file.read_bytes())
        import_skills([self.file], self.folder / "out.dmpack", "out")


class Overlays(Reader):
    """Half of the damage is inside the lines, under sums that fit. What is read is searched, exported and added to."""

    name = "overlays"

    def prepare(self) -> None:
        self.pack = write_pack(self.folder / "a.dmpack", "a", "expert/1", "", _MEMORIES)
        overlay = Overlay(self.folder / "a.jsonl", self.pack)
        for thing in ("cup", "jar"):
            won = Memory(f"put a {thing} in desk.", _TYPE, thing, "desk", (f"take {thing} 1",), thing, thing)
            overlay.record(self.pack.memories[:2], thing == "cup", won)
        self.sample = overlay.path.read_bytes()

    def damage(self, random: Random) -> bytes:
        if random.random() < 0.5:
            return change_bytes(self.sample, random)
        lines = self.sample.splitlines()
        at = random.randrange(len(lines))
        body = as_json(change_json(json.loads(lines[at].partition(b" ")[2]), random))
        lines[at] = sha256_bytes(body)[:16].encode() + b" " + body
        return b"\n".join([*lines, b""])

    def read(self, file: Path) -> None:
        overlay = Overlay(file, self.pack)
        overlay.search("put a mug in the desk", 3)
        list(overlay.export())
        overlay.record(self.pack.memories[:1], True)
