"""Deploying over ssh: the OpenSSH client as a subprocess, one connection for all commands.

It never asks anything: keys, known hosts and jumps are those of the user's ssh configuration.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path

from duomem.core.errors import DeployError
from duomem.core.process import TIMED_OUT, Done, last_line, run
from duomem.deploy.address import SshAddress
from duomem.deploy.transport import COPY_TIMEOUT, TIMEOUT, ConnectionLost, Transport, fetch_to, read_piece

_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
    "ControlMaster": "auto",
    "ControlPersist": "60",
    "ForwardX11": "no",
    "ForwardAgent": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
}
_FAILED = 255
"""Exit status of ssh itself, not of the command on the device."""
_LONGEST_SOCKET = 80


class SshTransport(Transport):
    """The device at `address`; config: an ssh configuration file instead of the user's own."""

    def __init__(self, address: SshAddress, config: Path | None = None) -> None:
        """Connects at the first command. Raises DeployError without an ssh client."""
        program = shutil.which("ssh")
        if program is None:
            raise DeployError("ssh: not found: install the OpenSSH client (Debian: openssh-client)")
        self._address = address
        self.name = f"{address.user}@{address.host}" if address.user else address.host
        self._sockets: Path | None = Path(tempfile.mkdtemp(prefix="duomem-"))
        if len(str(self._sockets)) > _LONGEST_SOCKET:  # a socket's path has at most about 100 bytes
            self._sockets.rmdir()
            self._sockets = Path(tempfile.mkdtemp(prefix="duomem-", dir="/tmp"))
        command = [program, "-T"]
        if config is not None:
            command += ["-F", str(config)]
        for name, value in {**_OPTIONS, "ControlPath": str(self._sockets / "socket")}.items():
            command += ["-o", f"{name}={value}"]
        if address.user is not None:
            command += ["-l", address.user]
        if address.port is not None:
            command += ["-p", str(address.port)]
        self._ssh = command

    def _command(self, remote: str) -> list[str]:
        return [*self._ssh, "--", self._address.host, remote]

    def _shell(self, script: bytes, timeout: float) -> Done:
        return run(self._command("sh"), timeout, source=script)

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        piece = read_piece(source, offset, size)
        self._check(run(self._command(f"cat >> {shlex.quote(path)}"), COPY_TIMEOUT, source=piece), path)

    def fetch(self, path: str, target: Path) -> None:
        self._check(fetch_to(target, self._command(f"cat < {shlex.quote(path)}"), TIMEOUT), path)

    def _check(self, done: Done, path: str) -> None:
        if done.status in (_FAILED, TIMED_OUT) or done.status < 0:
            raise ConnectionLost(self._explain(done.error))
        if done.status:
            raise DeployError(f"{self.name}: {path}: {last_line(done.error)}")

    def close(self) -> None:
        if self._sockets is None:
            return
        if (self._sockets / "socket").exists():
            run([*self._ssh, "-O", "exit", "--", self._address.host], 10)
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets = None

    def _explain(self, complaint: str) -> str:
        host, port = self._address.host, self._address.port or 22
        login = f"ssh {f'-p {port} ' if port != 22 else ''}{self.name}"
        for sign, advice in (
            (
                "IDENTIFICATION HAS CHANGED",
                "its host key is not the one known for it: if the device was set up anew, "
                f"run ssh-keygen -R {host if port == 22 else f'[{host}]:{port}'} and connect once with {login}",
            ),
            ("Host key verification failed", f"its host key is unknown: connect once with {login} and confirm it"),
            ("Could not resolve hostname", "no such host: check the name, or give its address"),
            ("No route to host", "no way to it: is it on, and in this network?"),
            ("Network is unreachable", "no way to it: is this machine in a network?"),
            ("Connection refused", f"nothing listens on port {port}: start its ssh server, or give ssh://host:port"),
            ("timed out", f"no answer on port {port}: is it on, and does a firewall let ssh through?"),
            ("Too many authentication failures", "too many keys tried: name the one to use in your ssh configuration"),
            (
                "Permission denied",
                f"it takes none of your keys: run ssh-copy-id {self.name}, or add the key to your ssh agent",
            ),
            ("command not found", f"{last_line(complaint)}: the device needs a POSIX sh"),
        ):
            if sign in complaint:
                return f"{self.name}: {advice}"
        return (
            f"{self.name}: the connection ended ({last_line(complaint)}): run the same command again, what was "
            "copied is kept"
        )
