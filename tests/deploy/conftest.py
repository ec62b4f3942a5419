"""Devices to deploy to: a folder behind a local shell, a real sshd on loopback, an adb command that plays one."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from bundles import write_bundle

from duomem.deploy.transport import ConnectionLost, Transport, call, fetch_to
from duomem.device.bundle import read_bundle

SHELLS = {"sh": ["sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}
_TOYS = ("sha256sum", "mkdir", "mv", "ln", "cat", "rm", "readlink", "date", "find", "wc", "df", "sync", "printf", "sh")


class FolderTransport(Transport):
    """A "device" that is the folder `home`, reached through a shell of this machine."""

    name = "folder"

    def __init__(self, home: Path, shell: Sequence[str] = ("sh",), path: Path | None = None) -> None:
        self.home, self.shell = home, [shutil.which(shell[0]) or shell[0], *shell[1:]]
        self.env = [] if path is None else [f"PATH={path}"]

    def _shell(self, script: bytes, timeout: float) -> tuple[bytes, str]:
        command = ["env", "-C", str(self.home), *self.env, *self.shell]
        return call(command, timeout, script)[1:]

    def _explain(self, complaint: str) -> str:
        return f"the folder went away: {complaint}"

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        with open(source, "rb") as f, open(self.home / path, "ab") as out:
            f.seek(offset)
            out.write(f.read(size))

    def fetch(self, path: str, target: Path) -> None:
        fetch_to(target, ["cat", str(self.home / path)], 10)


class CutTransport(FolderTransport):
    """Loses the connection at operation `cut`: "before" it runs, "after" it ran, or "half" way into a copy."""

    def __init__(self, home: Path, cut: int, how: str) -> None:
        super().__init__(home)
        self.left, self.how = cut, how

    def _cut(self) -> bool:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and self.how == "before"):
            raise ConnectionLost("cut")
        return self.left == 0

    def _shell(self, script: bytes, timeout: float) -> tuple[bytes, str]:
        cut = self._cut()
        answer = super()._shell(script[: len(script) // 2] if cut and self.how == "half" else script, timeout)
        if cut:
            raise ConnectionLost("cut")
        return answer

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        cut = self._cut()
        super().append(source, offset, size // 2 if cut and self.how == "half" else size, path)
        if cut:
            raise ConnectionLost("cut")


@dataclass
class Bundles:
    """Two versions of a student: `new` shares the large shard with `old`, and has another library and file."""

    old: Path
    new: Path
    changed: int
    """Bytes of `new` that `old` has not."""


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    folder = tmp_path_factory.mktemp("bundles")
    old = write_bundle(folder / "old")
    new = write_bundle(folder / "new", {"lib/cpu.so": b"\x7fELF other" * 1000, "packs/new.dmpack": b"memories" * 700})
    return Bundles(old, new, 10 * 1000 + 8 * 700 + 1 + (new / "bundle.json").stat().st_size - 1)


@pytest.fixture(autouse=True)
def quick_sync(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's disk need not survive a power cut."""
    tools = tmp_path_factory.mktemp("quick")
    (tools / "sync").symlink_to(shutil.which("true") or "true")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")


@pytest.fixture
def in_use() -> Callable[[Path], bytes]:
    """in_use(folder): bundle.json of the version that `current` leads to, verified whole by the bundle's reader."""

    def read(folder: Path) -> bytes:
        link = os.readlink(folder / "current")
        assert link.startswith("versions/")
        assert read_bundle(folder / link).folder.is_dir()
        return (folder / "current" / "bundle.json").read_bytes()

    return read


@pytest.fixture
def android_tools(tmp_path: Path) -> Path:
    """A PATH like an Android phone's: toybox's tools, and hard links refused as SELinux does there."""
    toybox = shutil.which("toybox")
    if toybox is None:
        pytest.skip("no toybox (apt install toybox): Android's tools are not tried")
    folder = tmp_path / "system" / "bin"
    folder.mkdir(parents=True)
    for name in _TOYS:
        (folder / name).symlink_to(shutil.which("mksh") or shutil.which("sh") or "" if name == "sh" else toybox)
    (folder / "ln").unlink()
    write_program(folder / "ln", f'#!/bin/sh\ncase "$1" in -s*) exec {toybox} ln "$@";; esac\n'
                  "echo 'ln: cannot create hard link: Permission denied' >&2; exit 1\n")
    return folder


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@dataclass
class Sshd:
    """A running sshd. config: an ssh configuration that logs in to it as host "device"."""

    port: int
    config: Path
    folder: Path

    def variant(self, name: str, *changes: str) -> Path:
        """A configuration whose lines that begin as one of `changes` are replaced by it, or it is added."""
        lines = self.config.read_text().splitlines()
        for change in changes:
            word = change.split()[0]
            lines = [line for line in lines if line.split()[0] != word] + [change]
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """sshd on a free port of 127.0.0.1, as this user, with keys of its own; skips where it is not installed."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or not shutil.which("ssh") or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd and ssh (apt install openssh-server openssh-client): nothing to deploy to over ssh")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    (folder / "tools").mkdir()
    (folder / "tools" / "sync").symlink_to(shutil.which("true") or "true")
    (folder / "sshd_config").write_text(
        f"SetEnv PATH={folder}/tools:/usr/bin:/bin\n"
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PrintMotd no\nPermitRootLogin prohibit-password\nMaxStartups 50\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it; made at boot elsewhere
    with open(folder / "log", "wb") as log:
        # Ends with its standard input, so also when the tests are killed.
        server = subprocess.Popen(["sh", "-c", '"$0" -D -e -f "$1" & read -r _; kill $!', program,
                                   str(folder / "sshd_config")], stdin=subprocess.PIPE, stderr=log)
    try:
        known = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\ndevice {known}\n")
        (folder / "config").write_text(
            f"HostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/user\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n")
        _wait_for(port, folder / "log")
        yield Sshd(port, folder / "config", folder)
    finally:
        server.communicate(timeout=10)


def _wait_for(port: int, log: Path) -> None:
    for _ in range(200):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip(f"sshd does not start here: {log.read_text()[-300:]}")


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts an `adb` on PATH that plays one device over a folder, which is returned (its /). See fake_adb.py."""
    root = tmp_path / "android"
    (root / "data/local/tmp").mkdir(parents=True)
    tools = tmp_path / "platform-tools"
    tools.mkdir()
    source = Path(__file__).with_name("fake_adb.py").read_text()
    write_program(tools / "adb", f"#!{sys.executable}\n{source}")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ADB_ROOT", str(root))
    monkeypatch.setenv("FAKE_ADB_PATH", os.environ["PATH"])
    monkeypatch.delenv("FAKE_ADB_STATE", raising=False)
    return root
