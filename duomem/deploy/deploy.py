"""`duomem deploy`: a bundle becomes a device's current one, or the one before it does again.

Copies what the device has not, assembles and checks the new version beside the old, then switches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duomem.core.errors import DeployError
from duomem.core.files import sha256_file
from duomem.core.process import last_line
from duomem.core.progress import progress
from duomem.deploy.adb import AdbTransport
from duomem.deploy.address import AdbAddress, parse_address
from duomem.deploy.device_side import DeviceSide
from duomem.deploy.device_state import File, State, check_path
from duomem.deploy.lock import locked
from duomem.deploy.ssh import SshTransport
from duomem.deploy.transport import Result, Transport
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.manifest import MANIFEST

PIECE = 8 << 20
"""Bytes copied at a time: after each the deploy shows that it lives, and an adb cut loses no more."""
CHECK_TIMEOUT = 300.0
_BEAT = 60.0
_ROOM = 4 << 20
_CANNOT_CHECK = 3
_USAGE = 2
"""Exit status of a duomem too old to know `doctor --bundle`."""


@dataclass(frozen=True)
class Check:
    """A self-check's outcome: "passed", "failed" or "not run", and its last line or the reason."""

    outcome: str
    text: str


@dataclass(frozen=True)
class Deployed:
    """What a deploy did. folder: absolute, on the device; previous: where a rollback leads, or None;
    changed: whether `current` was switched; sent: files and bytes copied, reused: files it had."""

    device: str
    folder: str
    version: str
    previous: str | None
    changed: bool
    sent_files: int
    sent_bytes: int
    reused_files: int
    check: Check

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Deployment:
    """What a device has. folder: absolute if it is there; current, previous: versions, the second where a rollback
    leads; versions: all of them, sorted; free: bytes left there, None if the device does not say.
    """

    device: str
    folder: str
    current: str | None
    previous: str | None
    versions: tuple[str, ...]
    free: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def connect(address: str, ssh_config: Path | None = None) -> tuple[Transport, str]:
    """The connection to the device that `address` names, and the folder on it. Raises DeployError."""
    parsed = parse_address(address)
    if isinstance(parsed, AdbAddress):
        if ssh_config is not None:
            raise DeployError(f"--ssh-config: {address} is reached by adb: leave it out")
        return AdbTransport(parsed), parsed.folder
    return SshTransport(parsed, ssh_config), parsed.folder


def deploy(transport: Transport, folder: str, bundle: Path, check: bool = True) -> Deployed:
    """Make `bundle` the current one in `folder` of the device; the one before stays for a rollback.

    The bundle is verified here first, each file by its digest on the device, and the whole runs its
    self-check there before it is switched to: until then, whatever happens, the device keeps what it had.
    Versions older than the previous one are deleted. Raises DeployError; a ConnectionLost one if the same
    call may go on where it stopped.
    """
    verified = read_bundle(bundle)
    manifest = verified.folder / MANIFEST
    files = [File(MANIFEST, sha256_file(manifest), manifest.stat().st_size)]
    files += [
        File(check_path(path), entry["sha256"], entry["size"])
        for path, entry in sorted(verified.manifest["files"].items())
    ]
    with locked(transport, folder) as device:
        state = device.state()
        name = _intact_version(device, state, files)
        copied = reused = sent = 0
        if name is None:
            name = _free_name(state, files)
            places = _places(device, state, files)
            missing = {file.sha256: file for file in files if file.sha256 not in places}
            sent = _copy(transport, device, state, verified.folder, list(missing.values()))
            places |= {sha256: f"incoming/{sha256}" for sha256 in missing}
            copied, reused = len(missing), len({file.sha256 for file in files}) - len(missing)
            device.assemble(name, [(file, places[file.sha256]) for file in files])
        else:
            reused = len({file.sha256 for file in files})
        outcome = _check(device, name, files) if check else Check("not run", "not asked for")
        changed = state.current != name
        same = state.current is not None and state.current.partition(".")[0] == _identity(files)
        previous = state.previous.get(state.current or "") if same else state.current  # never a damaged copy of itself
        if outcome.outcome != "failed":
            if changed:
                device.switch(name, previous)
            device.prune(sorted({*state.versions, *state.leftover} - {name, previous}))
        return Deployed(
            transport.name,
            state.root,
            name,
            previous,
            changed and outcome.outcome != "failed",
            copied,
            sent,
            reused,
            outcome,
        )


def rollback(transport: Transport, folder: str, check: bool = True) -> Deployed:
    """Switch back to the version before the current one, verified and checked first; again for there and back.

    Raises DeployError if there is none or it is damaged.
    """
    with locked(transport, folder) as device:
        state = device.state()
        name = state.previous.get(state.current) if state.current else None
        if name is None or name not in state.versions:
            raise DeployError(f"{transport.name}:{folder}: has no previous version to go back to: deploy one")
        files = state.records.get(name, [])
        if not files or not device.whole(name, files):
            raise DeployError(f"{transport.name}:{folder}: the previous version is damaged: deploy its bundle again")
        outcome = _check(device, name, files) if check else Check("not run", "not asked for")
        if outcome.outcome != "failed":
            device.switch(name, state.current)
        return Deployed(
            transport.name, state.root, name, state.current, outcome.outcome != "failed", 0, 0, len(files), outcome
        )


def status(transport: Transport, folder: str) -> Deployment:
    """What is deployed in `folder` of the device. Takes no lock and changes nothing. Raises DeployError."""
    state = DeviceSide(transport, folder, "").peek()
    previous = state.previous.get(state.current) if state.current else None
    return Deployment(
        transport.name,
        state.root or folder,
        state.current,
        previous if previous in state.versions else None,
        tuple(sorted(state.versions)),
        state.free,
    )


def check_command(paths: Sequence[str]) -> str:
    """The shell command that checks a bundle of these files on a device, run in the bundle's folder.

    `sh install.sh --check` or `sh check` if the bundle has such a file, else duomem itself if the device has
    it. The command changes nothing, exits with 0 if the bundle runs here, 3 if that cannot be told here,
    and anything else if it does not; its last line says why in a few words.
    """
    if "install.sh" in paths:
        return "sh ./install.sh --check"
    if "check" in paths:
        return "sh ./check"
    return (
        f"command -v duomem >/dev/null 2>&1 || {{\n"
        f"echo 'the bundle brings no check and the device has no duomem'; exit {_CANNOT_CHECK}; }}\n"
        f"duomem doctor --bundle .\nstatus=$?\n[ $status -ne {_USAGE} ] || status={_CANNOT_CHECK}\nexit $status"
    )


def _check(device: DeviceSide, name: str, files: Sequence[File]) -> Check:
    result: Result = device.self_check(name, check_command([file.path for file in files]), CHECK_TIMEOUT)
    text = last_line(result.output)
    if result.status == _CANNOT_CHECK:
        return Check("not run", text)
    return Check("failed" if result.status else "passed", text)


def _identity(files: Sequence[File]) -> str:
    """bundle.json names every other file by digest, so its own says which bundle it is."""
    return files[0].sha256[:20]


def _intact_version(device: DeviceSide, state: State, files: Sequence[File]) -> str | None:
    """A version on the device that is this bundle, every file of it read there; the current one first."""
    same = [name for name in state.versions if name.partition(".")[0] == _identity(files)]
    for name in sorted(same, key=lambda name: name != state.current):
        if device.whole(name, files):
            return name
    return None


def _free_name(state: State, files: Sequence[File]) -> str:
    name = _identity(files)
    used = set(state.versions)
    return next(n for n in (name, *(f"{name}.{i}" for i in range(1, 10_000))) if n not in used)


def _places(device: DeviceSide, state: State, files: Sequence[File]) -> dict[str, str]:
    """Where the device has an intact copy of files, by digest."""
    wanted = {file.sha256 for file in files}
    candidates = [("incoming", File(sha256, sha256)) for sha256 in state.parts if sha256 in wanted]
    newest_first = sorted(state.versions, key=lambda name: name != state.current)
    candidates += [
        (f"versions/{name}", file)
        for name in newest_first
        for file in state.records.get(name, ())
        if file.sha256 in wanted
    ]
    once = {file.sha256: (folder, file) for folder, file in reversed(candidates)}
    places = _intact_places(device, list(once.values()))
    rest = [
        (folder, file)
        for folder, file in candidates
        if file.sha256 not in places and once[file.sha256] != (folder, file)
    ]
    return {**_intact_places(device, rest), **places} if rest else places


def _intact_places(device: DeviceSide, candidates: list[tuple[str, File]]) -> dict[str, str]:
    found = device.intact(candidates) if candidates else []
    return {
        file.sha256: f"{folder}/{file.path}" for (folder, file), good in zip(candidates, found, strict=True) if good
    }


def _copy(transport: Transport, device: DeviceSide, state: State, folder: Path, files: Sequence[File]) -> int:
    """Bring `files` to the device's incoming folder, going on with what parts it has; bytes sent."""
    have = {file.sha256: _usable_part(state, file) for file in files}
    need = sum(file.size - have[file.sha256] for file in files)
    if state.free is not None and need + _ROOM > state.free:
        raise DeployError(
            f"{transport.name}: {need / 1e6:.0f} MB are to be copied, {state.free / 1e6:.0f} MB are free "
            f"in {state.root}: free space there, or name a folder on another disk"
        )
    sent = 0
    with progress(
        None, "to device", total=sum(file.size for file in files), unit="B", initial=sum(have.values())
    ) as bar:
        for file in files:
            for start in dict.fromkeys((have[file.sha256], 0)):
                sent += _send(transport, device, folder / file.path, file, start, bar)
                if device.accept(file.sha256):
                    break
            else:
                raise DeployError(
                    f"{folder / file.path}: arrives with another digest: it changed meanwhile, or the "
                    "connection damages data; run the same command again"
                )
    return sent


def _usable_part(state: State, file: File) -> int:
    size = state.parts.get(f"{file.sha256}.part", 0)
    return size if size <= file.size else 0


def _send(transport: Transport, device: DeviceSide, source: Path, file: File, start: int, bar: Any) -> int:
    device.begin_part(file.sha256, keep=start > 0)
    path = device.path(f"incoming/{file.sha256}.part")
    beat = time.monotonic()
    for offset in range(start, file.size, PIECE):
        size = min(PIECE, file.size - offset)
        transport.append(source, offset, size, path)
        bar.update(size)
        if time.monotonic() - beat > _BEAT:
            device.state()
            beat = time.monotonic()
    return file.size - start
