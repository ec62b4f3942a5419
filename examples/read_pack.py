"""Read a memory pack with Python's standard library alone, as docs/pack-format.md describes the file.

python examples/read_pack.py runs/expert.dmpack pick_and_place_simple mug desk
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

MOST_BYTES = {"manifest.json": 64 << 10, "memories.jsonl": 8 << 20, "lexicon.json": 2 << 20}
SAID = ("kind", "task", "task_type", "object_type", "target_type", "steps")


def read_members(path: Path) -> dict[str, bytes]:
    """The members of the zip, none longer than it may be."""
    if path.stat().st_size > 4 << 20:
        raise ValueError("the file is larger than a pack may be")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) != len(names) or not {"manifest.json", "memories.jsonl"} <= set(names) <= MOST_BYTES.keys():
            raise ValueError("the zip holds other files than a pack's")
        members = {}
        for name in names:
            with archive.open(name) as member:
                members[name] = member.read(MOST_BYTES[name] + 1)
            if len(members[name]) > MOST_BYTES[name]:
                raise ValueError(f"{name} unpacks to more than {MOST_BYTES[name]} bytes")
    return members


def sha256(data: bytes) -> str:
    """Hex digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    """The JSON bytes that digests are of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def entry_id(entry: dict[str, Any]) -> str:
    """The id of an entry: of what it says, not of where it comes from."""
    said = {name: entry[name] for name in SAID} | {"phrasings": entry.get("phrasings", [])}
    return sha256(canonical(said))[:16]


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """(manifest, entries, content digest) of a pack. Raises ValueError if a digest or a schema is wrong."""
    members = read_members(path)
    manifest = json.loads(members.pop("manifest.json"))
    if (manifest["format"], manifest["schema"]) != ("duomem-pack", 3):
        raise ValueError(f"schema {manifest['schema']} is not 3")
    digests: dict[str, str | None] = {"memories": None, "lexicon": None}
    for name, data in members.items():
        part = name.partition(".")[0]
        digests[part] = sha256(data)
        if manifest[part]["sha256"] != digests[part]:
            raise ValueError(f"{name} is not what the manifest describes")
    entries = [json.loads(line) for line in members["memories.jsonl"].decode().splitlines()]
    texts = [text for entry in entries for text in (*(entry[name] for name in SAID[:-1]), *entry["steps"])]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("an entry holds something else than lines of text")
    return manifest, entries, sha256(canonical(digests))


def main(path: Path, goal: list[str]) -> None:
    """Print what the pack says of itself, and its entries for a goal."""
    manifest, entries, content = read(path)
    print(f"{manifest['name']} {manifest['version']}, {len(entries)} entries, licence {manifest['licence']}")
    print(f"content {content}")
    for row in manifest["evaluations"]:
        print(f"{row['wins']} of {row['n']} won, {row['split']}, {row['condition']}")
    for entry in entries:
        if not goal or [entry["task_type"], entry["object_type"], entry["target_type"]] == goal:
            steps = " ".join(f"{number}. {step};" for number, step in enumerate(entry["steps"], 1))
            print(f"{entry_id(entry)}  {len(entry['sources'])} games  {entry['task']} {steps}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Read a memory pack without duomem.")
    parser.add_argument("pack", type=Path, help="a .dmpack file")
    parser.add_argument("goal", nargs="*", help="task type, object type and target type; all entries without them")
    args = parser.parse_args()
    main(args.pack, args.goal)
