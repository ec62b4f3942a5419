"""Deploying over ssh to a real sshd on loopback, and what is said when it cannot be reached."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import write_bundle
from devices import Bundles, Sshd, write_program

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.deploy import deploy as module
from duomem.deploy.address import SshAddress
from duomem.deploy.deploy import deploy
from duomem.deploy.ssh import SshTransport
from duomem.deploy.transport import ConnectionLost

pytestmark = pytest.mark.ssh

InUse = Callable[[Path], bytes]
DEVICE = SshAddress("device", None, None, "duomem")


@pytest.fixture
def transport(sshd: Sshd) -> Iterator[SshTransport]:
    with contextlib.closing(SshTransport(DEVICE, sshd.config)) as transport:
        yield transport


def test_from_the_command_line(
    sshd: Sshd, tmp_path: Path, bundles: Bundles, in_use: InUse, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "my device"
    address = f"ssh://device{tmp_path}/my%20device"
    config = ["--ssh-config", str(sshd.config)]
    assert main(["deploy", "push", address, str(bundles.old), *config]) == 0
    out = capsys.readouterr().out
    assert f"device:{root}: version " in out and "is current; sent 6 files" in out
    assert "self-check: not run: the bundle brings no check and the device has no duomem" in out
    assert in_use(root) == (bundles.old / "bundle.json").read_bytes()
    assert main(["deploy", "push", address, str(bundles.new), "--json", *config]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (done["sent_files"], done["sent_bytes"], done["changed"]) == (3, bundles.changed, True)
    assert main(["deploy", "push", address, str(bundles.new), *config]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["deploy", "rollback", address, *config]) == 0
    back = f"back to version {done['previous']}; another rollback returns to {done['version']}"
    assert back in capsys.readouterr().out
    assert in_use(root) == (bundles.old / "bundle.json").read_bytes()
    assert main(["deploy", "status", address, "--json", *config]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["current"], found["previous"]) == (done["previous"], done["version"]) and found["folder"] == str(root)
    assert main(["deploy", "push", address, *config]) == 2
    assert "Missing argument 'BUNDLE'" in capsys.readouterr().err


def test_a_failed_check_is_exit_status_1(
    sshd: Sshd,
    tmp_path: Path,
    bundles: Bundles,
    in_use: InUse,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [f"ssh://device{tmp_path}/d", str(bundles.new), "--ssh-config", str(sshd.config)]
    main(["deploy", "push", arguments[0], str(bundles.old), *arguments[2:]])
    monkeypatch.setattr(module, "check_command", lambda paths: "echo 'needs CUDA 13'; exit 1")
    assert main(["deploy", "push", *arguments]) == 1
    out = capsys.readouterr().out
    assert "not switched" in out and "self-check: failed: needs CUDA 13" in out
    assert in_use(tmp_path / "d") == (bundles.old / "bundle.json").read_bytes()
    assert main(["deploy", "push", *arguments, "--no-check"]) == 0
    assert in_use(tmp_path / "d") == (bundles.new / "bundle.json").read_bytes()


def test_one_connection_serves_all_and_is_closed(sshd: Sshd, tmp_path: Path, bundles: Bundles) -> None:
    before = (sshd.folder / "log").read_text().count("Accepted publickey")
    with contextlib.closing(SshTransport(DEVICE, sshd.config)) as transport:
        deploy(transport, f"{tmp_path}/d", bundles.old)
        sockets = transport._sockets
        assert sockets is not None and (sockets / "socket").exists()
    assert (sshd.folder / "log").read_text().count("Accepted publickey") == before + 1
    assert not sockets.exists()
    transport.close()


def test_files_come_and_go_unchanged(transport: SshTransport, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_001))
    there = str(tmp_path / 'it\'s $HOME; "there" *')
    transport.append(source, 0, 1_000_000, there)
    transport.append(source, 1_000_000, 2_000_001, there)
    transport.fetch(there, target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(UserError, match="No such file"):
        transport.fetch(str(tmp_path / "absent"), target)
    assert target.read_bytes() == source.read_bytes()
    with pytest.raises(UserError, match="directory"):
        transport.append(source, 0, 10, str(tmp_path))
    result = transport.run("cat; echo out; echo err >&2; exit 7")
    assert (result.status, result.output.split()) == (7, ["out", "err"])
    with pytest.raises(ConnectionLost, match="no answer"):
        transport.run("sleep 30", timeout=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["UserKnownHostsFile /dev/null"], "its host key is unknown"),
        (["IdentityFile STRANGER"], "it takes none of your keys: run ssh-copy-id"),
        (["Port CLOSED"], "nothing listens on port"),
        (["HostName no-such-host.invalid"], "no such host"),
        (["ProxyCommand true"], "the connection ended"),
    ],
)
def test_what_keeps_it_from_connecting_is_said(
    changes: list[str], said: str, sshd: Sshd, bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [change.replace("STRANGER", f"{sshd.folder}/stranger").replace("CLOSED", "1") for change in changes]
    config = sshd.variant("wrong", *changes)
    assert main(["deploy", "push", f"ssh://me@device{tmp_path}/d", str(bundles.old), "--ssh-config", str(config)]) == 1
    err = capsys.readouterr().err
    assert said in err and "me@device" in err and len(err.splitlines()) == 1


def test_a_changed_host_key_is_said(
    sshd: Sshd, bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = " ".join((sshd.folder / "stranger.pub").read_text().split()[:2])
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    config = sshd.variant("changed", f"UserKnownHostsFile {tmp_path}/known")
    assert (
        main(["deploy", "push", f"ssh://device:{sshd.port}{tmp_path}/d", str(bundles.old), "--ssh-config", str(config)])
        == 1
    )
    assert f"ssh-keygen -R [device]:{sshd.port}" in capsys.readouterr().err


def test_no_ssh_client(
    tmp_path: Path, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["deploy", "push", "ssh://device", str(bundles.old)]) == 1
    assert "install the OpenSSH client" in capsys.readouterr().err


_PROXY = """
import socket, sys, os, select
left, server = int(sys.argv[2]), socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while True:
    for ready in select.select([0, server], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else server.recv(65536)
        if not data:
            sys.exit()
        if ready == 0:
            server.sendall(data[:max(left, 0)])
            left -= len(data)
            if left < 0:
                os._exit(1)
        else:
            os.write(1, data)
"""


@pytest.mark.parametrize("limit", [500, 20_000, 1_500_000, 2_900_000])
def test_the_line_is_cut_after_so_many_bytes(limit: int, sshd: Sshd, tmp_path: Path, in_use: InUse) -> None:
    """The TCP connection ends in the middle of whatever is on its way; the next deploy sends the rest alone."""
    old = write_bundle(tmp_path / "old")
    new = write_bundle(tmp_path / "new", {f"model/params_shard_{i}.bin": os.urandom(1_000_000) for i in (1, 2, 3)})
    root = tmp_path / "d"
    with contextlib.closing(SshTransport(DEVICE, sshd.config)) as transport:
        deploy(transport, str(root), old)
    proxy = write_program(tmp_path / "proxy.py", _PROXY)
    config = sshd.variant(f"cut{limit}", f"ProxyCommand {sys.executable} {proxy} {sshd.port} {limit}")
    with contextlib.closing(SshTransport(DEVICE, config)) as transport, pytest.raises(ConnectionLost):
        deploy(transport, str(root), new)
    assert in_use(root) == (old / "bundle.json").read_bytes()
    arrived = sum(path.stat().st_size for path in (root / "incoming").iterdir() if path.is_file())
    with contextlib.closing(SshTransport(DEVICE, sshd.config)) as transport:
        done = deploy(transport, str(root), new)
    assert in_use(root) == (new / "bundle.json").read_bytes()
    total = 3_000_000 + (new / "bundle.json").stat().st_size
    assert done.sent_bytes <= total - arrived + 100_000
    assert arrived >= limit // 1_000_000 * 1_000_000


def test_ctrl_c_ends_the_copy_and_gives_the_lock_back(sshd: Sshd, tmp_path: Path, bundles: Bundles) -> None:
    slow = tmp_path / "slow"
    program = (
        f"import sys, os, signal, contextlib\nfrom pathlib import Path\n"
        "from duomem.cli.main import main\nfrom duomem.deploy.ssh import SshTransport\n"
        "plain = SshTransport.append\n"
        "def append(*a):\n    plain(*a)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "SshTransport.append = append\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.exit(main(['deploy', 'push', 'ssh://device{slow}', {str(bundles.old)!r}, '--ssh-config', "
        f"{str(sshd.config)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    assert not list((slow / "lock").iterdir()) and list((slow / "incoming").iterdir())
    assert not (slow / "current").exists()


def test_a_real_student_is_deployed_and_still_plays(sshd: Sshd, tmp_path: Path, tiny_bundle: Path) -> None:
    """The whole way: a compiled bundle, over ssh, checked there by the device's own duomem, loaded from `current`."""
    from duomem.device.engine.tvm_engine import TvmEngine

    command = write_program(tmp_path / "duomem", f'#!/bin/sh\nexec {sys.executable} -m duomem.cli.main "$@"\n')
    with contextlib.closing(SshTransport(DEVICE, sshd.config)) as transport:
        plain = transport.run
        transport.run = lambda script, timeout=60: plain(  # type: ignore[method-assign]
            f"PATH={command.parent}:$PATH\n{script}", timeout
        )
        done = deploy(transport, str(tmp_path / "d"), tiny_bundle)
    assert done.check.outcome == "passed", done.check.text
    engine = TvmEngine.load((tmp_path / "d/current").resolve())
    assert engine.session().prefill([1, 2, 3]).shape == (engine.vocab_size,)
