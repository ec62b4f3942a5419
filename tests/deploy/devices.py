"""Devices that the tests deploy to: a folder behind a shell of this machine, one that is cut off, a running sshd."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.process import Done, run
from duomem.deploy.transport import ConnectionLost, Transport, fetch_to

SHELLS = {"sh": ["sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"], "mksh": ["mksh"]}


class FolderTransport(Transport):
    """A "device" that is the folder `home`, reached through a shell of this machine."""

    name = "folder"

    def __init__(self, home: Path, shell: Sequence[str] = ("sh",), path: Path | None = None) -> None:
        self.home, self.shell = home, [shutil.which(shell[0]) or shell[0], *shell[1:]]
        # Without this machine's own duomem, which would check the bundle.
        self.env = [f"PATH={os.defpath if path is None else path}"]

    def _shell(self, script: bytes, timeout: float) -> Done:
        command = ["env", "-C", str(self.home), *self.env, *self.shell]
        return run(command, timeout, source=script)

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

    def _shell(self, script: bytes, timeout: float) -> Done:
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


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
