"""Devices to deploy to: a folder behind a local shell, a real sshd on loopback, an adb command that plays one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import write_bundle
from devices import Bundles, Sshd, write_program

from duomem.device.engine.bundle import read_bundle

_TOYS = ("sha256sum", "mkdir", "mv", "ln", "cat", "rm", "readlink", "date", "find", "wc", "df", "sync", "printf", "sh")


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
    write_program(
        folder / "ln",
        f'#!/bin/sh\ncase "$1" in -s*) exec {toybox} ln "$@";; esac\n'
        "echo 'ln: cannot create hard link: Permission denied' >&2; exit 1\n",
    )
    return folder


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
        f"SetEnv PATH={folder}/tools:/usr/bin:/bin DUOMEM_HOME={folder}/duomem\n"
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PrintMotd no\nPermitRootLogin prohibit-password\nMaxStartups 50\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it; made at boot elsewhere
    with open(folder / "log", "wb") as log:
        # Ends with its standard input, so also when the tests are killed.
        server = subprocess.Popen(
            ["sh", "-c", '"$0" -D -e -f "$1" & read -r _; kill $!', program, str(folder / "sshd_config")],
            stdin=subprocess.PIPE,
            stderr=log,
        )
    try:
        known = " ".join((folder / "host.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\ndevice {known}\n")
        (folder / "config").write_text(
            f"HostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/user\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
        )
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
