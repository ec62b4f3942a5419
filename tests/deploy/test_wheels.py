"""The wheels that a kit brings are those whose digests are pinned, fetched now or before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from duomem.core.errors import UserError
from duomem.core.package import own_files
from duomem.core.process import Done
from duomem.core.reading import sha256_bytes
from duomem.deploy import wheels as module
from duomem.deploy.wheels import PLATFORMS, fetch_wheels, locked_digests, pins

NAME = "rich-1.0-py3-none-any.whl"
GOOD = b"a wheel"
DEVICE = PLATFORMS["aarch64"]


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A package index that has one wheel, of the bytes in this list; GOOD is the pinned one."""
    served = [GOOD]

    def download(command: list[str], timeout: float) -> Done:
        (Path(command[command.index("--dest") + 1]) / NAME).write_bytes(served[0])
        return Done(0, "", "")

    monkeypatch.setattr(module, "run", download)
    monkeypatch.setattr(module, "pins", lambda: {"rich": "1.0"})
    monkeypatch.setattr(module, "locked_digests", lambda: {("rich", "1.0"): frozenset((sha256_bytes(GOOD), "0" * 64))})
    return served


def test_a_pinned_wheel_is_fetched_once(index: list[bytes], tmp_path: Path) -> None:
    assert fetch_wheels(DEVICE, "3.11", tmp_path) == [tmp_path / NAME]
    index[0] = b"another"
    assert fetch_wheels(DEVICE, "3.12", tmp_path) == [tmp_path / NAME]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_another_wheel_is_refused_and_not_kept(index: list[bytes], tmp_path: Path) -> None:
    index[0] = b"another"
    with pytest.raises(UserError, match=rf"{NAME}: its SHA-256 {sha256_bytes(b'another')} is none that wheels\.lock"):
        fetch_wheels(DEVICE, "3.11", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_kept_wheel_that_was_changed_is_refused(index: list[bytes], tmp_path: Path) -> None:
    fetch_wheels(DEVICE, "3.11", tmp_path)
    (tmp_path / NAME).write_bytes(b"another")
    with pytest.raises(UserError, match=r"is none that wheels\.lock pins: remove it"):
        fetch_wheels(DEVICE, "3.11", tmp_path)


def test_a_version_that_is_not_pinned_is_told(
    index: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "pins", lambda: {"rich": "2.0"})
    with pytest.raises(UserError, match=r"rich 2\.0: is installed here but not pinned for devices: pip install"):
        fetch_wheels(DEVICE, "3.11", tmp_path)


def test_what_is_pinned_is_what_is_tested_with() -> None:
    """The lock names the versions of constraints.txt, and all of them."""
    constraints = re.findall(
        r"^([\w-]+)==([^\s;]+)", (Path(__file__).parents[2] / "constraints.txt").read_text(), re.MULTILINE
    )
    names = {name.replace("_", "-") for name in pins()}
    locked = locked_digests()
    assert set(locked) == {(name, version) for name, version in constraints if name in names}
    assert {name for name, _ in locked} == names and all(locked.values())
    assert "deploy/wheels.lock" in own_files("deploy")
