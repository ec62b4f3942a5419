"""Deploying over adb to an Android device: the `adb` command as a subprocess.

Files go in pieces through a file of their own, as adb can neither append nor go on after a cut.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path

from duomem.core.errors import DeployError
from duomem.core.process import Done, last_line, run
from duomem.deploy.address import AdbAddress
from duomem.deploy.transport import COPY_TIMEOUT, TIMEOUT, ConnectionLost, Transport, fetch_to, read_piece


class AdbTransport(Transport):
    """The device at `address`."""

    def __init__(self, address: AdbAddress) -> None:
        """Raises DeployError without an adb command."""
        program = shutil.which("adb")
        if program is None:
            raise DeployError("adb: not found: install it (Debian: adb; elsewhere: Android's platform tools)")
        self.name = f"adb device {address.serial}" if address.serial else "adb device"
        self._adb = [program, *(["-s", address.serial] if address.serial else [])]

    def _shell(self, script: bytes, timeout: float) -> Done:
        return run([*self._adb, "shell", "sh"], timeout, source=script)

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        piece = f"{path}.piece"
        with tempfile.NamedTemporaryFile(prefix="duomem-") as f:
            f.write(read_piece(source, offset, size))
            f.flush()
            pushed = run([*self._adb, "push", f.name, piece], COPY_TIMEOUT)
        if pushed.status:
            raise self._error(pushed.error + pushed.output, path)
        done = self.run(f"cat {shlex.quote(piece)} >> {shlex.quote(path)} && rm -f {shlex.quote(piece)}")
        if done.status:
            raise DeployError(f"{self.name}: {path}: {last_line(done.output)}")

    def fetch(self, path: str, target: Path) -> None:
        # exec-out tells neither the exit status nor an error of `cat`: ask for the file first.
        if self.run(f"[ -f {shlex.quote(path)} ] && [ -r {shlex.quote(path)} ]").status:
            raise DeployError(f"{self.name}: {path}: no such file, or not readable")
        done = fetch_to(target, [*self._adb, "exec-out", f"cat {shlex.quote(path)}"], TIMEOUT)
        if done.status:
            raise self._error(done.error, path)

    def _error(self, complaint: str, path: str) -> DeployError:
        if "No space left" in complaint or "couldn't create file" in complaint or "remote" in complaint:
            return DeployError(f"{self.name}: {path}: {last_line(complaint)}")
        return ConnectionLost(self._explain(complaint))

    def _explain(self, complaint: str) -> str:
        for sign, advice in (
            ("no devices", "none is connected: plug it in with USB debugging on, or run adb connect HOST:PORT"),
            ("more than one", "several are connected: name one as adb:SERIAL, of those adb devices lists"),
            ("unauthorized", "it does not trust this computer yet: unlock it and accept the question on its screen"),
            ("offline", "it does not answer: unplug it and plug it in again, or run adb reconnect"),
            ("not found", "it is not connected: compare with what adb devices lists"),
            (
                "no permissions",
                "this user may not use the USB device: install android-sdk-platform-tools-common "
                "(its udev rules) and plug it in again",
            ),
        ):
            if sign in complaint:
                return f"{self.name}: {advice}"
        return (
            f"{self.name}: the connection ended ({last_line(complaint)}): run the same command again, what was "
            "copied is kept"
        )
