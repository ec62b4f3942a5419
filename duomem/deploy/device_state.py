"""What a device's folder holds: the script that tells it there, and what is read of its answer here.

The answer is a device's: whatever no deploy can have written is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from duomem.core.errors import DeployError, UserError
from duomem.core.files import is_sha256

VERSION = re.compile(r"[0-9a-f]{20}(?:\.[0-9]{1,4})?")
_BYTES = re.compile(r"[0-9]{1,18}")
STATE = """
printf 'root %s\\n' "$(pwd -P)"
printf 'current %s\\n' "$(readlink current || true)"
for version in versions/*; do
    [ -d "$version" ] || continue
    name=${version#versions/}
    printf 'version %s\\n' "$name"
    [ ! -f "records/$name.previous" ] || printf 'previous %s %s\\n' "$name" "$(cat "records/$name.previous")"
    [ -f "records/$name" ] || continue
    while read -r sha path; do printf 'file %s %s %s\\n' "$name" "$sha" "$path"; done < "records/$name"
done
for record in records/*; do
    [ ! -f "$record" ] || printf 'record %s\n' "${record#records/}"
done
for part in incoming/*; do
    [ ! -f "$part" ] || printf 'part %s %s\\n' "${part#incoming/}" "$(wc -c < "$part")"
done
df -Pk . 2>/dev/null || true
"""
"""Prints a device's folder, run in it. See device_side for its layout."""


@dataclass(frozen=True)
class File:
    """A file of a bundle: its path inside it (with /), digest and bytes."""

    path: str
    sha256: str
    size: int = 0


@dataclass
class State:
    """What a device's folder holds. root: its absolute path; records: files of each version, unverified;
    parts: bytes of each file in incoming; leftover: versions there is only a record of; free: bytes left
    there, None if it does not say."""

    root: str = ""
    current: str | None = None
    versions: list[str] = field(default_factory=list)
    records: dict[str, list[File]] = field(default_factory=dict)
    previous: dict[str, str] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    leftover: list[str] = field(default_factory=list)
    free: int | None = None


def check_path(path: str) -> str:
    """`path` if it can be a bundle's file on any device; DeployError if not."""
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or part.startswith(("-", "~")) or part != part.strip() for part in parts)
    if odd or not path.isprintable() or "\\" in path:
        raise DeployError(f"{path!r}: no name a deployed file can have: rename it")
    return path


def read_state(output: str) -> State:
    """What STATE printed."""
    state, recorded = State(), set()
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        name, _, value = rest.partition(" ")
        if word == "root":
            state.root = rest
        elif word == "current":
            link = rest.removeprefix("versions/")
            state.current = link if VERSION.fullmatch(link) else None
        elif word == "version" and VERSION.fullmatch(rest):
            state.versions.append(rest)
        elif word == "previous" and VERSION.fullmatch(name) and VERSION.fullmatch(value):
            state.previous[name] = value
        elif word == "file" and VERSION.fullmatch(name):
            sha256, _, path = value.partition(" ")
            if is_sha256(sha256) and _harmless(path):
                state.records.setdefault(name, []).append(File(path, sha256))
        elif word == "part" and _BYTES.fullmatch(value.strip()):
            state.parts[name] = int(value)
        elif word == "record" and VERSION.fullmatch(rest):
            recorded.add(rest)
        else:
            columns = line.split()
            if len(columns) >= 6 and all(map(_BYTES.fullmatch, columns[1:4])):
                state.free = int(columns[3]) << 10
    if state.current not in state.versions:
        state.current = None
    state.leftover = sorted(recorded - set(state.versions))
    return state


def _harmless(path: str) -> bool:
    try:
        check_path(path)
    except UserError:
        return False
    return True
