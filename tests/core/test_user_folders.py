"""What duomem keeps for a user is in one place: the named one, the platform's, never a relative one."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.core import user_folders
from duomem.core.errors import FileError
from duomem.core.user_folders import config_folder, data_folder


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DUOMEM_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(user_folders.sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))


def test_the_platforms_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (str(data_folder()), str(config_folder())) == ("/home/ada/.local/share/duomem", "/home/ada/.config/duomem")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert (str(data_folder()), str(config_folder())) == ("/data/duomem", "/home/ada/.config/duomem")
    monkeypatch.setattr(user_folders.sys, "platform", "darwin")
    assert data_folder() == config_folder() == Path("/home/ada/Library/Application Support/duomem")


def test_one_folder_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOMEM_HOME", "/stick")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert data_folder() == config_folder() == Path("/stick")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(FileError, match="set DUOMEM_HOME"):
        data_folder()
