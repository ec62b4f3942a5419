"""What happens on the device: every step of a deploy as one POSIX shell script, and its folder's layout.

    FOLDER/current -> versions/NAME     the bundle in use; switched by renaming a link over it
    FOLDER/versions/NAME/               whole bundles, each verified before it got its name
    FOLDER/records/NAME                 "sha256 path" of each of its files; NAME.previous: what it replaced
    FOLDER/incoming/SHA256[.part]       files on their way; they outlive a cut
    FOLDER/lock/CLAIM                   who deploys now, a line at each step; the only claim holds the lock

A step can be cut anywhere: only the rename of `current` changes what is in use, and whatever a cut leaves
is verified by its digest before it is used again. Needs sh, sha256sum, mkdir, mv, ln, cat, rm, readlink,
date, find, wc, df, sync and printf, as GNU, busybox, toybox and BSD have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from shlex import quote

from duomem.core.errors import DeployError
from duomem.core.process import last_line
from duomem.deploy.device_state import STATE, VERSION, File, State, read_state
from duomem.deploy.transport import ConnectionLost, Result, Transport

CLAIM = re.compile(r"[0-9a-f]{16}-[0-9]{1,10}-[0-9]{1,20}-[0-9a-f]{16}")
_TOOLS = ("sha256sum", "mkdir", "mv", "ln", "cat", "rm", "readlink", "date", "find", "wc", "df", "sync", "printf")
_LOCK_LOST = 75
_REFUSED = 76

_PRELUDE = """set -eu
umask 022
LC_ALL=C; export LC_ALL
digest() { sha256sum < "$1" | { read -r d rest; printf '%s' "$d"; }; }
refuse() { echo "refused $*"; exit 76; }
store() { sync "$@" 2>/dev/null || sync; }
"""


@dataclass(frozen=True)
class Claim:
    """Another deploy's hold on the lock; age in seconds by the device's clock."""

    name: str
    age: int
    owner: str


class DeviceSide:
    """A deploy's steps in `folder` of the device that `transport` leads to, under the claim `claim`.

    Each raises ConnectionLost if it is not known to have run, DeployError if the device refuses.
    """

    def __init__(self, transport: Transport, folder: str, claim: str) -> None:
        self._transport = transport
        self._folder = folder
        self._claim = claim
        self._owner = ""

    def path(self, name: str) -> str:
        """Where `name` of the folder is, for the transport's copies."""
        return f"{self._folder}/{name}"

    def acquire(self, owner: str, stale: Sequence[str]) -> list[Claim]:
        """Make the folder and claim its lock, dropping the `stale` claims. The claims in the way, if any."""
        mine = f"lock/{self._claim}"
        self._owner = owner
        drop = "\n".join(f"rm -f {quote('lock/' + name)}" for name in stale)
        tools = " ".join(_TOOLS)
        result = self._run(
            f"""
for tool in {tools}; do command -v "$tool" >/dev/null 2>&1 || refuse "the device has no $tool"; done
mkdir -p {quote(self._folder)} 2>/dev/null || refuse "the folder cannot be made, give another in the address"
cd {quote(self._folder)}
[ ! -e current ] || [ -h current ] || refuse "current is there and no link: give another folder"
mkdir -p lock versions records incoming || refuse "the folder is not writable, give another in the address"
now=$(date +%s)
{drop}
printf '%s %s\\n' "$now" {quote(owner)} >> {quote(mine)}
set -- lock/*
[ "$*" != {quote(mine)} ] || {{ echo held; exit 0; }}
rm -f {quote(mine)}
for claim in "$@"; do
    [ "$claim" = {quote(mine)} ] && continue
    beat=; owner=
    while read -r b o; do beat=$b; owner=$o; done < "$claim" || true
    printf 'claim %s %s %s %s\\n' "${{claim#lock/}}" "$now" "${{beat:-$now}}" "$owner"
done
""",
            inside=False,
        )
        lines = result.splitlines()
        if "held" in lines:
            return []
        claims = []
        for line in lines:
            match = re.fullmatch(r"claim (\S+) ([0-9]{1,15}) (\S+) ?(.*)", line)
            if match and CLAIM.fullmatch(match[1]):
                beat = int(match[3]) if match[3].isdecimal() and len(match[3]) < 16 else int(match[2])
                claims.append(Claim(match[1], int(match[2]) - beat, match[4][:100]))
            elif match:
                raise self._refused(f"lock/{match[1][:80]} is no claim of a deploy: remove it")
        return claims or [Claim("", 0, "another deploy that begins now")]

    def release(self) -> None:
        """Give the lock back."""
        self._run(f"rm -f {quote('lock/' + self._claim)}", locked=False)

    def state(self) -> State:
        """What is there. Names no deploy gave are passed over."""
        return self._state(STATE)

    def peek(self) -> State:
        """`state` without the lock, as another deploy may change it meanwhile; its root is "" if there is no folder."""
        start = f"[ -d {quote(self._folder)} ] || exit 0\ncd {quote(self._folder)}\n"
        return self._state(start + STATE, inside=False)

    def _state(self, script: str, inside: bool = True) -> State:
        state = read_state(self._run(script, inside))
        if state.root and not (state.root.startswith("/") and state.root.isprintable()):
            raise self._refused(f"{state.root[:200]!r} is no path: give another folder in the address")
        return state

    def intact(self, candidates: Sequence[tuple[str, File]]) -> list[bool]:
        """Whether each (folder, file) is a plain file of its digest. Read on the device, now."""
        checks = "\n".join(
            f"check {file.sha256} {quote(f'{folder}/{file.path}')} {i}" for i, (folder, file) in enumerate(candidates)
        )
        result = self._run(
            'check() { [ -h "$2" ] || [ ! -f "$2" ] || [ "$(digest "$2")" != "$1" ] || '
            f"printf 'intact %s\\n' \"$3\"; }}\n{checks}"
        )
        good = {line.removeprefix("intact ") for line in result.splitlines() if line.startswith("intact ")}
        return [str(i) in good for i in range(len(candidates))]

    def whole(self, name: str, files: Sequence[File]) -> bool:
        """Whether version `name` is exactly `files`: all intact, and nothing else in its folder."""
        result = self._run(f"printf 'count %s\\n' $(find {quote('versions/' + name)} ! -type d | wc -l)")
        if f"count {len(files)}" not in result.splitlines():
            return False
        return all(self.intact([(f"versions/{name}", file) for file in files]))

    def begin_part(self, sha256: str, keep: bool) -> None:
        """Make ready the part of a file, with the bytes it has if `keep`.

        They go to a new file: what still writes to the old one after a cut connection cannot reach it.
        """
        part = f"incoming/{sha256}.part"
        fill = f"cat {part} > {part}.new" if keep else f": > {part}.new"
        self._run(f"rm -f {part}.piece\n{fill}\nmv -f {part}.new {part}")

    def accept(self, sha256: str) -> bool:
        """Give the part its final name if it has its digest, else delete it."""
        part = f"incoming/{sha256}.part"
        result = self._run(
            f'if [ "$(digest {part})" = {sha256} ]; then mv -f {part} incoming/{sha256}; echo whole\n'
            f"else rm -f {part}; fi"
        )
        return "whole" in result.splitlines()

    def assemble(self, name: str, files: Sequence[tuple[File, str]]) -> None:
        """Make version `name` of (file, where the device has its bytes); it has the name only once verified.

        Files are hard links where the device allows it, else copies.
        """
        folders = sorted({file.path.rpartition("/")[0] for file, _ in files} - {""})
        make = "\n".join(f"mkdir -p {quote('incoming/tree/' + folder)}" for folder in folders)
        place = "\n".join(
            f"place {file.sha256} {quote(source)} {quote('incoming/tree/' + file.path)}" for file, source in files
        )
        lines = "\n".join(f"printf '%s %s\\n' {file.sha256} {quote(file.path)}" for file, _ in files)
        stored = " ".join(quote(f"incoming/tree/{name}") for name in (*(file.path for file, _ in files), *folders))
        result = self._run(f"""
rm -rf incoming/tree incoming/record
mkdir -p incoming/tree
place() {{
    ln "$2" "$3" 2>/dev/null || cat "$2" > "$3" || refuse "$3 could not be written: is the device full?"
    [ "$(digest "$3")" = "$1" ] || refuse "$2 changed while it was used: run the same command again"
}}
{make}
{place}
{{
{lines}
}} > incoming/record
mv -f incoming/record {quote("records/" + name)}
store {quote("records/" + name)} {stored}
[ ! -e {quote("versions/" + name)} ] || refuse "versions/{name} appeared meanwhile: run the same command again"
mv incoming/tree {quote("versions/" + name)}
store versions
echo assembled
""")
        self._expect(result, "assembled")

    def switch(self, name: str, previous: str | None) -> None:
        """Point `current` to version `name` in one step; `previous` is where a rollback from it leads."""
        note = (
            f"printf '%s\\n' {quote(previous)} > records/.previous\nmv -f records/.previous "
            f"{quote(f'records/{name}.previous')}"
            if previous is not None
            else ""
        )
        target = quote(f"versions/{name}")
        result = self._run(f"""
[ -d {target} ] || refuse "versions/{name} is gone: run the same command again"
{note}
rm -rf current.new
ln -s {target} current.new
mv -fT current.new current 2>/dev/null || mv -fh current.new current 2>/dev/null || ln -sfn {target} current
rm -rf current.new
[ "$(readlink current)" = {target} ] || refuse "current could not be switched"
store . records
echo switched
""")
        self._expect(result, "switched")

    def prune(self, versions: Iterable[str]) -> None:
        """Delete these versions and whatever is left of copies on their way."""
        drop = "\n".join(
            f"rm -rf {quote(f'records/{name}')} {quote(f'records/{name}.previous')} {quote(f'versions/{name}')}"
            for name in versions
            if VERSION.fullmatch(name)
        )
        self._run(f"{drop}\nrm -rf incoming\nmkdir -p incoming")

    def self_check(self, name: str, command: str, timeout: float) -> Result:
        """Run a version's check, in its folder. See deploy.check_command for what `command` may be."""
        return self._transport.run(f"cd {quote(self.path(f'versions/{name}'))} || exit\n{command}", timeout)

    def _run(self, script: str, inside: bool = True, locked: bool = True) -> str:
        """Run a step in the folder, if the lock is still this deploy's, and say so to others by its time."""
        start = f"cd {quote(self._folder)} || refuse 'the folder is gone: run the same command again'\n"
        mine = quote(f"lock/{self._claim}")
        hold = (
            f'set -- lock/*\n[ "$*" = {mine} ] || exit {_LOCK_LOST}\n'
            f"printf '%s %s\\n' \"$(date +%s)\" {quote(self._owner)} >> {mine}\n"
        )
        before = (start if inside else "") + (hold if inside and locked else "")
        result = self._transport.run(_PRELUDE + before + script)
        if result.status == _LOCK_LOST:
            raise self._refused("another deploy took over: wait for it, then run the same command again")
        if result.status == _REFUSED:
            raise self._refused(last_line(result.output).removeprefix("refused "))
        if result.status > 128:
            raise ConnectionLost(
                f"{self._where()}: the step was ended by signal {result.status - 128}: run the same "
                "command again, what was copied is kept"
            )
        if result.status:
            raise self._refused(last_line(result.output))
        return result.output

    def _expect(self, output: str, word: str) -> None:
        if word not in output.splitlines():
            raise self._refused(last_line(output))

    def _refused(self, reason: str) -> DeployError:
        return DeployError(f"{self._where()}: {reason}")

    def _where(self) -> str:
        return f"{self._transport.name}:{self._folder}"
