"""The gate on libraries that round their inputs to 8 bits: judged by distribution, beside an exact library's proof."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from duomem.compile import bundle as writer
from duomem.compile.bundle import compile_bundle
from duomem.compile.gate import gate
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import GateError
from duomem.device.engine.bundle import Library, read_bundle
from duomem.device.engine.schemes import EXACT, INT8
from duomem.device.engine.tvm_engine import TvmEngine

LOOSE = 2.0


@pytest.fixture(scope="module")
def rounding(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny model compiled as by default."""
    folder = tmp_path_factory.mktemp("rounding") / "b"
    compile_bundle(tiny_model, "host", "q4f32_1", folder, 256, min_agreement=0.0)
    return folder


def test_by_default_inputs_are_rounded_and_an_exact_library_is_the_proof(rounding: Path) -> None:
    bundle = read_bundle(rounding)
    (library,) = bundle.libraries
    figures = bundle.manifest["gate"]
    assert library.activations == INT8 and figures["unchecked"] == []
    assert figures["libraries"] == {} and 0 < figures["max_abs_diff"] < figures["bound"] == 1e-3
    assert 0 < figures["int8"]["mean_kl"][library.file] < figures["int8"]["bound"] == 0.1
    assert [Path(file).stem.split("-")[-1] for file in figures["proxy_libraries"]] == [EXACT]
    assert [file for file in bundle.manifest["files"] if file.startswith("lib/")] == [library.file]


def test_rounding_shows_in_the_logits_and_not_in_their_order(rounding: Path, tiny_bundle: Path) -> None:
    tokens = list(range(5, 45))
    ours, exact = (TvmEngine.load(folder).session().prefill(tokens) for folder in (rounding, tiny_bundle))
    assert 0 < abs(ours - exact).max() < 0.5 * exact.std() and ours.argmax() == exact.argmax()


def test_what_fails_rounded_is_compiled_exactly(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_far(library: Library, measured: dict[str, Any]) -> None:
        if library.activations == INT8:
            raise gate.RoundingError(f"{library.file} is too far: use --activations exact")

    monkeypatch.setattr(gate, "_judge_logits", too_far)
    bundle, new = compile_bundle(tiny_model, "host", "q4f32_1", tmp_path / "b", 256, min_agreement=0.0)
    assert new and [library.activations for library in bundle.libraries] == [EXACT]
    assert capsys.readouterr().err.count("is too far: use --activations exact; going on with that\n") == 1
    with pytest.raises(GateError, match="is too far"):
        compile_bundle(tiny_model, "host", "q4f32_1", tmp_path / "c", 256, min_agreement=0.0, activations=INT8)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(("kl", "passes"), [(0.003, True), (0.1, False), (float("inf"), False)])
def test_the_bound_of_rounded_inputs(kl: float, passes: bool) -> None:
    library = Library("lib/a.so", "generic", frozenset(), activations=INT8)
    measured = {"max_abs_diff_by_step": {"all": LOOSE}, "divergence_by_step": {"all": 0.0, "decode": kl}}
    if passes:
        gate._judge_logits(library, measured)
    else:
        with pytest.raises(gate.RoundingError, match=r"rounded to 8 bits lib/a\.so is .* nats.*--activations exact"):
            gate._judge_logits(library, measured)


def test_nothing_is_shown_without_an_exact_library(rounding: Path, tiny_model: Path, tmp_path: Path) -> None:
    copied = read_bundle(shutil.copytree(rounding, tmp_path / "copy"))
    with pytest.raises(GateError, match="no exact library"):
        gate.check_parity(copied, Checkpoint(tiny_model), 0.0)


def test_another_choice_is_another_bundle(rounding: Path, tiny_model: Path) -> None:
    checkpoint, length = writer.check_inputs(tiny_model, "q4f32_1", 256, None)
    target = writer.load_target("host")
    digests = {
        writer._inputs_digest(checkpoint, target, "q4f32_1", length, None, 0.0, one, played)
        for one, played in ((None, None), (INT8, None), (EXACT, None), (EXACT, {"games": 1}))
    }
    assert len(digests) == 4 and read_bundle(rounding).manifest["inputs"] in digests
