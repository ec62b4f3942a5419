"""A deploy cut anywhere: what the device uses stays whole, and the next deploy goes on where it was cut."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from devices import Bundles, CutTransport, FolderTransport

from duomem.core.errors import UserError
from duomem.deploy import deploy as module
from duomem.deploy.deploy import deploy
from duomem.deploy.transport import ConnectionLost

InUse = Callable[[Path], bytes]


class Counting(FolderTransport):
    """Counts what is sent, by where it goes."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.sent: dict[str, int] = {}

    def append(self, source: Path, offset: int, size: int, path: str) -> None:
        super().append(source, offset, size, path)
        self.sent[Path(path).name] = self.sent.get(Path(path).name, 0) + size


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 4000)


def _complete(root: Path) -> set[str]:
    """Files in incoming whose every byte has arrived, accepted or not."""
    found = set()
    for path in (root / "incoming").iterdir():
        digest = path.name.split(".")[0]
        if path.is_file() and module.sha256_file(path) == digest:
            found.add(digest)
    return found


def _check_after_cut(home: Path, bundles: Bundles, in_use: InUse) -> None:
    """The old or the new version is in use and whole; the next deploy sends nothing complete again."""
    old, new = ((bundle / "bundle.json").read_bytes() for bundle in (bundles.old, bundles.new))
    used = in_use(home / "d")
    assert used in (old, new)
    complete = _complete(home / "d")
    had = sum(path.stat().st_size for path in (home / "d/incoming").iterdir() if path.suffix == ".part")
    again = Counting(home)
    done = deploy(again, "d", bundles.new)
    assert not {name.removesuffix(".part") for name in again.sent} & complete
    assert done.sent_bytes == sum(again.sent.values()) <= bundles.changed - had
    assert in_use(home / "d") == new
    assert not list((home / "d/incoming").iterdir()) and not list((home / "d/lock").iterdir())
    assert module.rollback(again, "d").version != done.version
    assert in_use(home / "d") == old


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "after", "half"])
def test_the_connection_is_cut_at_every_operation(how: str, tmp_path: Path, bundles: Bundles, in_use: InUse) -> None:
    start = tmp_path / "start"
    start.mkdir()
    deploy(FolderTransport(start), "d", bundles.old)
    cuts = 0
    while True:
        home = tmp_path / f"home{cuts}"
        shutil.copytree(start, home, symlinks=True)
        try:
            deploy(CutTransport(home, cuts + 1, how), "d", bundles.new)
        except ConnectionLost:
            cuts += 1
        else:
            break
        _check_after_cut(home, bundles, in_use)
    assert cuts >= 15


@pytest.mark.slow
@pytest.mark.parametrize("phase", range(3))
def test_the_device_loses_power_at_every_command(phase: int, tmp_path: Path, bundles: Bundles, in_use: InUse) -> None:
    """Every sixth command of all the scripts, from `phase` on: its shell and all it started are killed there."""
    tools = tmp_path / "tools"
    tools.mkdir()
    counter = tmp_path / "count"
    for name in ("sha256sum", "mkdir", "mv", "ln", "cat", "rm", "readlink", "date", "find", "wc", "df", "sync"):
        real = shutil.which("true" if name == "sync" else name)
        (tools / name).write_text(
            f"#!/bin/sh\nread -r n < {counter}\nn=$((n - 1))\necho $n > {counter}\n"
            f'[ $n -gt 0 ] || kill -9 0\nexec {real} "$@"\n'
        )
        (tools / name).chmod(0o755)
    start = tmp_path / "start"
    start.mkdir()
    deploy(FolderTransport(start), "d", bundles.old)
    cut = 1 + 2 * phase
    while True:
        home = tmp_path / f"home{cut}"
        shutil.copytree(start, home, symlinks=True)
        counter.write_text(f"{cut}\n")
        device = FolderTransport(home, path=tools)
        with contextlib.suppress(ConnectionLost):
            deploy(device, "d", bundles.new)
        if int(counter.read_text()) > 0:
            break
        _check_after_cut(home, bundles, in_use)
        shutil.rmtree(home)
        cut += 6
    assert cut > 60


def test_a_part_that_grew_wrong_is_sent_again(tmp_path: Path, bundles: Bundles, in_use: InUse) -> None:
    """As when two connections wrote to it: the digest finds it, and the file is sent from its beginning."""
    device = Counting(tmp_path)
    deploy(device, "d", bundles.old)
    digest = module.sha256_file(bundles.new / "lib/cpu.so")
    part = tmp_path / "d/incoming" / f"{digest}.part"
    part.write_bytes(b"wrong" * 100)
    device.sent.clear()
    deploy(device, "d", bundles.new)
    size = (bundles.new / "lib/cpu.so").stat().st_size
    assert device.sent[part.name] == 2 * size - 500
    part.write_bytes(b"x" * (size + 1))
    assert in_use(tmp_path / "d") == (bundles.new / "bundle.json").read_bytes()


def test_a_writer_that_outlived_its_connection_cannot_reach_the_file(
    tmp_path: Path, bundles: Bundles, in_use: InUse
) -> None:
    device = FolderTransport(tmp_path)
    deploy(device, "d", bundles.old)
    digest = module.sha256_file(bundles.new / "lib/cpu.so")
    part = tmp_path / "d/incoming" / f"{digest}.part"
    part.write_bytes((bundles.new / "lib/cpu.so").read_bytes()[:100])
    with open(part, "ab") as late:
        deploy(device, "d", bundles.new)
        late.write(b"late bytes")
    assert in_use(tmp_path / "d") == (bundles.new / "bundle.json").read_bytes()


def test_an_error_of_the_device_leaves_the_old_version(tmp_path: Path, bundles: Bundles, in_use: InUse) -> None:
    deploy(FolderTransport(tmp_path), "d", bundles.old)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ln").write_text("#!/bin/sh\nexit 1\n")
    (tools / "cat").write_text('#!/bin/sh\necho "cat: write error: No space left on device" >&2; exit 1\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    with pytest.raises(UserError, match=r"No space left|is the device full"):
        deploy(FolderTransport(tmp_path, path=Path(f"{tools}:/usr/bin:/bin")), "d", bundles.new)
    assert in_use(tmp_path / "d") == (bundles.old / "bundle.json").read_bytes()
