from __future__ import annotations

import contextlib
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import episodes
import numpy as np
import pytest
from calibrated import WatchedGptq, calibrated
from whole_model import load_reference

from duomem.cli.main import main
from duomem.compile import bundle as writer
from duomem.compile.bundle import compile_bundle
from duomem.compile.library.target import load_target
from duomem.compile.models.config import Weight
from duomem.compile.weights import gptq as module
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq import Calibration, calibrated_order, quantize_calibrated
from duomem.core.errors import UserError
from duomem.core.files import sha256_file
from duomem.core.trajectory import Trajectory
from duomem.device.engine.bundle import read_bundle
from duomem.memory_packs.build import build_pack
from duomem.train.calibration import sample_episodes


def calibration(checkpoint: Checkpoint, seed: int = 0) -> Calibration:
    rng = np.random.default_rng(seed)
    size = checkpoint.config.vocab_size
    return Calibration(tuple(tuple(map(int, rng.integers(0, size, n))) for n in (60, 90, 75)), {"method": "gptq"})


@pytest.mark.parametrize("tied", [True, False])
def test_every_matrix_computes_nearer_than_with_plain_rounding(
    make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    """On the inputs it was calibrated on."""
    errors: list[tuple[float, float]] = []
    monkeypatch.setattr(WatchedGptq, "errors", errors, raising=False)
    monkeypatch.setattr(module, "Gptq", WatchedGptq)
    checkpoint = Checkpoint(make_model(tmp_path / "m", tie_word_embeddings=tied))
    rounded = calibrated(checkpoint, calibration(checkpoint), "q4f32_1")
    matrices = {weight.name: weight for weight in checkpoint.config.weights() if len(weight.shape) == 2}
    assert list(rounded) == [weight.name for weight in calibrated_order(checkpoint.config)]
    assert set(rounded) == set(matrices)
    for name, (q, scale) in rounded.items():
        n, k = matrices[name].shape
        assert q.shape == (n, k // 8) and scale.shape == (n, k // 32)
    assert len(errors) >= 8 and all(better < plain for better, plain in errors)


def test_layers_are_walked_as_transformers_does(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing rounded, what reaches the head is transformers' own hidden state."""
    import torch

    checkpoint = Checkpoint(tiny_model)
    monkeypatch.setattr(module, "set_weight", lambda *_: None)
    run = module._Run(checkpoint, "q4f32_1", lambda *_: None)
    monkeypatch.setattr(run, "_embedding", lambda ids: checkpoint.rows(module.EMBEDDING, ids))
    episodes = calibration(checkpoint).episodes
    with torch.no_grad():
        found = run.run(episodes)
        model = load_reference(checkpoint).model
        expected = torch.cat([model(torch.tensor([tokens])).last_hidden_state[0] for tokens in episodes])
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


def test_no_matrix_stays_in_memory(tiny_model: Path) -> None:
    checkpoint = Checkpoint(tiny_model)
    given: list[weakref.ref[np.ndarray]] = []
    most = []

    def keep(weight: Weight, q: np.ndarray, scale: np.ndarray) -> None:
        given.append(weakref.ref(q))
        most.append(sum(kept() is not None for kept in given))

    quantize_calibrated(checkpoint, calibration(checkpoint), "q4f32_1", keep)
    assert len(given) == 9 and max(most) <= 2


def test_same_episodes_same_bytes(tiny_model: Path) -> None:
    checkpoint = Checkpoint(tiny_model)
    first, second = (calibrated(checkpoint, calibration(checkpoint), "q4f32_1") for _ in range(2))
    other = calibrated(checkpoint, calibration(checkpoint, seed=1), "q4f32_1")
    for name, stored in first.items():
        assert all(np.array_equal(a, b) for a, b in zip(stored, second[name], strict=True)), name
    assert any(not np.array_equal(first[name][0], other[name][0]) for name in first)


def test_a_foreign_tokenizer_is_found_out(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="not this model's tokenizer"):
        calibrated(Checkpoint(tiny_model), Calibration(((1, 2, 300),), {}), "q4f32_1")


def episode(i: int, split: str = "train") -> Trajectory:
    return episodes.episode(i, split, commands=("take {name} 1", "move it to desk 1"))


def write(path: Path, trajectories: list[Trajectory]) -> Path:
    path.write_text("".join(json.dumps(t.to_json()) + "\n" for t in trajectories))
    return path


@pytest.fixture
def played(tmp_path: Path) -> Path:
    return write(tmp_path / "t.jsonl", [episode(i) for i in range(8)])


def command(*args: object) -> int:
    return main(["compile", *map(str, args)])


def test_the_bundle_tells_what_it_was_calibrated_on(
    tiny_model: Path,
    tiny_bundle: Path,
    played: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextlib.contextmanager
    def reuse(
        checkpoint: Any, scheme: str, target: Any, chunk: int, activations: str, folder: Path
    ) -> Iterator[Callable[[], list]]:
        entries = read_bundle(tiny_bundle).manifest["target"]["libraries"]
        for entry in entries:
            shutil.copyfile(tiny_bundle / entry["file"], folder / entry["file"])
        yield lambda: entries

    monkeypatch.setattr(writer, "building", reuse)
    monkeypatch.setenv("DUOMEM_HOME", str(tmp_path / "home"))
    pack, out = tmp_path / "p.dmpack", tmp_path / "b"
    build_pack(played, pack, "p")
    arguments = [tiny_model, "--context", 256, "--calibrate", played, "--activations", "exact", "--out", out]
    command(*arguments, "--calibrate-pack", pack)
    manifest = read_bundle(out).manifest
    record = manifest["calibration"]
    assert record["method"] == "gptq" and record["episodes"] == 8 and record["tokens"] > 8 * 100
    assert record["trajectories"] == sha256_file(played) and record["pack"] == sha256_file(pack)
    assert manifest["gate"]["max_abs_diff"] < manifest["gate"]["bound"]
    capsys.readouterr()
    command(*arguments, "--calibrate-pack", pack)
    assert "up to date" in capsys.readouterr().out


def test_another_calibration_is_another_bundle(tiny_model: Path, tiny_bundle: Path, played: Path) -> None:
    checkpoint = Checkpoint(tiny_model)

    def digest(record: dict[str, Any] | None) -> str:
        return writer._inputs_digest(checkpoint, load_target("host"), "q4f32_1", 256, record, None, "exact", None)

    records = [None, *(sample_episodes(played, None, tiny_model)[1] | {"tokens": n} for n in (1, 2))]
    assert len({digest(record) for record in records}) == 3
    assert read_bundle(tiny_bundle).manifest["inputs"] == digest(None)
    assert read_bundle(tiny_bundle).manifest["calibration"] is None


def test_what_training_held_out_is_not_calibrated_on(tiny_model: Path, played: Path, tmp_path: Path) -> None:
    student = Path(shutil.copytree(tiny_model, tmp_path / "student"))
    for games, scenes, left in (([], [], 8), ([0, 3], [], 6), ([0], ["5", "6"], 5)):
        held = {"games": [episode(i).game for i in games], "scenes": scenes}
        (student / "duomem.json").write_text(json.dumps({"held_out": held}))
        assert sample_episodes(played, None, student)[1]["episodes"] == left
    (student / "duomem.json").write_text(json.dumps({"held_out": {"scenes": [str(i) for i in range(8)]}}))
    with pytest.raises(UserError, match="no won episode"):
        sample_episodes(played, None, student)


@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_validation_games_are_refused(
    tiny_model: Path, tmp_path: Path, split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "t.jsonl", [episode(0), episode(1, split)])
    assert command(tiny_model, "--calibrate", file, "--out", tmp_path / "b") == 1
    assert f"line 2: field split is {split!r}: students learn from train games" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_wrong_use_is_one_line(
    tiny_model: Path, played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", tmp_path / "b"]
    lost = write(tmp_path / "lost.jsonl", [replace(episode(0), won=False)])
    assert command(tiny_model, "--calibrate", lost, *out) == 1
    assert "no won episode" in capsys.readouterr().err
    assert command(tiny_model, "--calibrate-pack", played, *out) == 2
    assert "--calibrate-pack: the memories of which episodes? Give --calibrate FILE too" in capsys.readouterr().err
    with pytest.raises(UserError, match="q0f32 rounds nothing"):
        compile_bundle(tiny_model, load_target("host"), "q0f32", tmp_path / "b", calibration=Calibration(((1, 2),), {}))
    assert not (tmp_path / "b").exists()
