from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import LLAMA3

from duomem.cli.main import main
from duomem.compile import bundle as writer
from duomem.compile.bundle import compile_bundle
from duomem.compile.library.target import load_target
from duomem.core.errors import UserError
from duomem.device.agent.prompt import PROMPT_VERSION
from duomem.device.engine.bundle import read_bundle

EXACTLY = ("--activations", "exact")


def compile_to(model: Path, out: Path, scheme: str = "q4f32_1", **options: Any) -> bool:
    return compile_bundle(model, load_target("host"), scheme, out, activations="exact", **options)[1]


def test_manifest_tells_what_was_compiled(tiny_bundle: Path) -> None:
    manifest = read_bundle(tiny_bundle).manifest
    assert manifest["quantization"] == "q4f32_1" and manifest["prompt_version"] == PROMPT_VERSION
    assert manifest["context"]["length"] == 256 and manifest["model"]["eos_token_ids"] == [257]
    assert manifest["context"]["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 4
    gate = manifest["gate"]
    assert 0 < gate["max_abs_diff"] < gate["bound"] == 1e-3
    assert {"prefill", "chunked_prefill", "rollback_decode", "fork_decode", "all"} <= set(gate["max_abs_diff_by_step"])
    assert gate["drift"]["mean_kl"] > 1e-4
    assert (tiny_bundle / "packs").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "config"),
    [
        ("q0f32", {"tie_word_embeddings": False, "vocab_size": 321}),
        (
            "q4f32_1",
            {
                "tie_word_embeddings": False,
                "num_hidden_layers": 1,
                "num_key_value_heads": 6,
                "rope_parameters": LLAMA3,
            },
        ),
    ],
)
def test_variants_pass_the_gate(make_model: Callable[..., Path], tmp_path: Path, scheme: str, config: dict) -> None:
    model = make_model(tmp_path / "m", **config)
    assert compile_to(model, tmp_path / "b", scheme, min_agreement=0.0)
    gate = read_bundle(tmp_path / "b").manifest["gate"]
    assert (gate["drift"]["top1_agreement"] == 1.0) == (scheme == "q0f32")


def test_same_inputs_are_compiled_once(tiny_model: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture) -> None:
    before = (tiny_bundle / "bundle.json").stat().st_mtime_ns
    assert main(["compile", str(tiny_model), "--out", str(tiny_bundle), "--context", "256", *EXACTLY]) == 0
    assert "up to date" in capsys.readouterr().out
    assert (tiny_bundle / "bundle.json").stat().st_mtime_ns == before


def test_a_failing_gate_leaves_nothing(
    tiny_model: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights in the bundle are of another model than the one it is compared with."""

    def other_weights(*args: Any) -> Any:
        for stored in real(*args):
            yield stored.of(stored.name, stored.array * np.float32(1.01)) if "norm" in stored.name else stored

    real = writer.packed_tensors
    monkeypatch.setattr(writer, "packed_tensors", other_weights)
    monkeypatch.setattr(writer, "building", reuse_library(tiny_bundle))
    with pytest.raises(UserError, match=r"parity gate.*no bundle was written"):
        compile_to(tiny_model, tmp_path / "b", context_length=256)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_is_made_again(
    tiny_model: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    (out / "model" / "params_shard_0.bin").write_bytes(b"")
    monkeypatch.setattr(writer, "building", reuse_library(tiny_bundle))
    assert compile_to(tiny_model, out, context_length=256)
    read_bundle(out)


def reuse_library(bundle: Path) -> Callable[..., Any]:
    """In place of `building`: the library of a bundle that there is."""

    @contextlib.contextmanager
    def build(
        checkpoint: Any, scheme: str, target: Any, chunk: int, activations: str, folder: Path
    ) -> Iterator[Callable[[], list]]:
        entries = read_bundle(bundle).manifest["target"]["libraries"]
        for entry in entries:
            shutil.copyfile(bundle / entry["file"], folder / entry["file"])
        yield lambda: entries

    return build


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["--quant", "q3"], 2, "'--quant': 'q3' is not one of 'q0f32'"),
        (["--context", "8"], 2, "'--context': 8 is not in the range x>=64"),
        (["--context", "1000"], 1, "--context 1000: this model takes 64..512 tokens"),
        (["--target", "moon"], 2, "'--target': 'moon' is not one of 'aarch64'"),
        (["--min-agreement", "90"], 2, "'--min-agreement': 90.0 is not in the range 0<=x<=1"),
        (["--min-agreement", "nan"], 2, "'--min-agreement': nan is not a number from 0 to 1"),
    ],
)
def test_wrong_options(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], status: int, said: str
) -> None:
    assert main(["compile", str(tiny_model), "--out", str(tmp_path / "b"), *args]) == status
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_a_folder_that_is_no_bundle_is_kept(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no bundle"):
        compile_to(tiny_model, tmp_path, context_length=256)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_q4_needs_whole_groups(make_model: Callable[..., Path], tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", intermediate_size=100)
    with pytest.raises(UserError, match=r"down_proj has 100 inputs.*q0f32"):
        compile_to(model, tmp_path / "b")


def test_a_foreign_tokenizer_is_found_out(
    tiny_model: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "m"))
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {c: i + 200 for c, i in tokenizer["model"]["vocab"].items()}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    monkeypatch.setattr(writer, "building", reuse_library(tiny_bundle))
    with pytest.raises(UserError, match=r"tokenizer\.json: .*an id is none of the model's"):
        compile_to(model, tmp_path / "b", context_length=256)
