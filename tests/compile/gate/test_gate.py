"""The gate refuses what is deliberately wrong: weights, libraries, processes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.compile import bundle as writer
from duomem.compile.bundle import compile_bundle
from duomem.compile.gate import gate
from duomem.compile.gate.gate import check_parity, comparing
from duomem.compile.gate.steps import FORCED, Choices, RecordedEpisode, RecordedStep
from duomem.compile.library.build import building
from duomem.compile.library.target import load_target
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.errors import UserError
from duomem.device.engine.bundle import Bundle, Library, read_bundle

PLAIN = Library("lib/a.so", "generic", frozenset())
CRASH = "__attribute__((constructor)) static void crash(void) { *(volatile int *)0 = 0; }"


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """The tiny bundle, in a folder that may be corrupted."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    return Bundle(folder, json.loads((folder / "bundle.json").read_text()))


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A command for the reference of the tiny bundle as written, which computes it once and then copies it."""
    kept = tmp_path_factory.mktemp("reference")
    code = (
        "import os, shutil, subprocess, sys; from pathlib import Path\n"
        "kept, job = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "done = not any(kept.iterdir()) and subprocess.run("
        "[sys.executable, '-m', 'duomem.compile.gate.reference', job], check=True)\n"
        "source, to = (job.parent, kept) if done else (kept, job.parent)\n"
        "for name in ('original.npy', 'expected.npy', job.stem + '.result.json'): shutil.copy(source / name, to / name)"
    )
    return (sys.executable, "-c", code, str(kept))


@pytest.fixture
def check(tiny_model: Path, reference: tuple[str, ...]) -> Callable[..., dict[str, Any]]:
    """check(bundle, min_agreement=None): check_parity for a bundle whose weights are the tiny bundle's."""

    def run(bundle: Bundle, min_agreement: float | None = None) -> dict[str, Any]:
        with comparing(Checkpoint(tiny_model), bundle.model_dir, "q4f32_1", 256, reference_command=reference) as judge:
            return judge(bundle, min_agreement)

    return run


def stored(bundle: Bundle, name: str) -> np.memmap:
    """The bytes of a stored tensor, [rows, bytes of a row], to write into."""
    cache = json.loads((bundle.model_dir / "tensor-cache.json").read_text())
    for shard in cache["records"]:
        for record in shard["records"]:
            if record["name"] == name:
                shape = (record["shape"][0], record["nbytes"] // record["shape"][0])
                file = bundle.model_dir / shard["dataPath"]
                return np.memmap(file, np.uint8, "r+", record["byteOffset"], shape)
    raise KeyError(name)


def close(one: Any, other: Any) -> bool:
    """Whether two figures, or nested lists and dicts of them, are equal but for the last digits of float32.

    MKL's sums depend on how memory is aligned: two runs of the same reference differ in those.
    """
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == pytest.approx(other, rel=0, abs=2e-5) if isinstance(one, float) else one == other)


def test_the_bundle_as_written_passes(copy: Bundle, tiny_model: Path) -> None:
    figures = check_parity(copy, Checkpoint(tiny_model), 0.0)
    assert 0 < figures["max_abs_diff"] < figures["bound"] == 1e-3
    assert figures["libraries"] == {copy.libraries[0].file: figures["max_abs_diff"]}
    actions = figures["actions"]
    assert actions["bound"] == 0.0 and 0 <= actions["clear_steps"] <= actions["steps"] <= 200
    assert 0.0 < copy.manifest["gate"]["actions"].pop("bound") != actions.pop("bound")
    assert all(close(figures[name], copy.manifest["gate"][name]) for name in figures)


def test_a_flipped_scale(copy: Bundle, tiny_model: Path) -> None:
    scale = stored(copy, "model.layers.1.mlp.down_proj.q_scale")
    scale[3, 1] ^= 0x80  # the sign of row 3's first bfloat16
    scale.flush()
    with pytest.raises(UserError, match=r"parity gate.*layers\.1\.mlp\.down_proj, row 3: .*no rounding"):
        check_parity(copy, Checkpoint(tiny_model))


def test_two_tokens_swapped(copy: Bundle, tiny_model: Path) -> None:
    for end in (".q_weight", ".q_scale"):
        rows = stored(copy, "model.embed_tokens" + end)
        rows[[40, 41]] = rows[[41, 40]]
        rows.flush()
    with pytest.raises(UserError, match=r"embed_tokens, row 40: .*no rounding"):
        check_parity(copy, Checkpoint(tiny_model))


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 10000.0},
        pytest.param({"rms_norm_eps": 0.1}, marks=pytest.mark.slow),
        pytest.param({"attention_scale": 0.2}, marks=pytest.mark.slow),
    ],
)
def test_a_library_of_another_model(
    copy: Bundle, tiny_model: Path, change: dict[str, float], check: Callable[..., Any]
) -> None:
    other = Checkpoint(tiny_model)
    other.config = dataclasses.replace(other.config, **change)
    with building(other, "q4f32_1", load_target("host"), copy.prefill_chunk, "exact", copy.folder) as finish:
        finish()
    with pytest.raises(UserError, match=r"parity gate: the logits of lib/.*no bundle was written"):
        check(copy)


def test_a_library_that_crashes(copy: Bundle, check: Callable[..., Any]) -> None:
    library = copy.folder / copy.libraries[0].file
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=CRASH, text=True, check=True)
    with pytest.raises(UserError, match=r"^the parity gate's engine, lib/.*crashed \(SIGSEGV\)") as caught:
        check(copy)
    assert "\n" not in str(caught.value)


def test_a_bundle_whose_library_crashes_is_not_written(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*args: Any) -> Any:
        real = building(*args)

        class Corrupted:
            def __enter__(self) -> Callable[[], Any]:
                finish = real.__enter__()

                def corrupt() -> Any:
                    libraries = finish()
                    file = args[-1] / libraries[0]["file"]
                    subprocess.run(
                        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", file], input=CRASH, text=True, check=True
                    )
                    return libraries

                return corrupt

            def __exit__(self, *error: Any) -> Any:
                return real.__exit__(*error)

        return Corrupted()

    monkeypatch.setattr(writer, "building", build)
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match="crashed"):
        compile_bundle(tiny_model, load_target("host"), "q4f32_1", tmp_path / "b", 256)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((sys.executable, "-c", "import time; time.sleep(60)"), r"reference took more than 1 s and was stopped"),
        ((sys.executable, "-c", "raise SystemExit('no luck')"), r"reference failed \(exit 1\): no luck$"),
        (("/no/such/python",), r"reference cannot be started: /no/such/python"),
    ],
)
def test_a_reference_that_does_not_come(copy: Bundle, tiny_model: Path, command: tuple[str, ...], message: str) -> None:
    with (
        pytest.raises(UserError, match=message),
        comparing(
            Checkpoint(tiny_model), copy.model_dir, "q4f32_1", 256, reference_command=command, time_limit=1.0
        ) as judge,
    ):
        judge(copy, None)


def test_leaving_early_ends_the_reference(copy: Bundle, tiny_model: Path, tmp_path: Path) -> None:
    mark = tmp_path / "late"
    sleep = (sys.executable, "-c", f"import time; time.sleep(2); open({str(mark)!r}, 'w')")
    with comparing(Checkpoint(tiny_model), copy.model_dir, "q4f32_1", 256, reference_command=sleep):
        pass
    time.sleep(2.5)
    assert not mark.exists()


def test_disagreeing_choices_are_refused(
    tiny_bundle: Path, check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random model in 4 bits: no choice of it is safe, and with every step judged it does not pass."""
    monkeypatch.setattr(gate, "CLEAR", 0.0)
    monkeypatch.setattr(gate, "MIN_STEPS", 1)
    bundle = read_bundle(tiny_bundle)
    with pytest.raises(UserError, match=r"of \d+ recorded steps.*--calibrate.*--min-agreement lowers"):
        check(bundle, 1.0)
    assert check(bundle, 0.0)["actions"]["agreement"] < 1


def episode(actions: list[list[int]]) -> RecordedEpisode:
    steps, tokens = [], [0, 0]
    for action in actions:
        steps.append(RecordedStep(len(tokens), tuple((token, 99) for token in action)))
        tokens += [*action, 0]
    return RecordedEpisode(tuple(tokens), 1, tuple(steps))


def test_figures_of_choices() -> None:
    recorded = [[1, 2], [1, 2], [1, 2], [1, 2]]
    theirs = Choices([[1, 2], [1, 99], [1, 99], [99, 2]], [[1, 2]] * 4, [[3, 3], [3, 0.1], [3, 3], [3, 0.1]])
    ours = Choices([[1, 2], [1, 2], [1, 99], [99, 99]], [[1, 2], [1, 2], [1, 2], [5, 2]], [[0, 0]] * 4)
    assert gate._actions([episode(recorded)], ours, theirs) == {
        "steps": 4,
        "agreement": 0.75,
        "clear_steps": 3,
        "clear_agreement": 1.0,
        "free_agreement": 0.75,
        "as_recorded": 0.5,
        "as_recorded_float32": 0.25,
    }


def test_another_library_repeats_the_longest_episode(copy: Bundle, check: Callable[..., Any]) -> None:
    first = copy.manifest["target"]["libraries"][0]
    copy.manifest["target"]["libraries"].append({**first, "file": "lib/other.so"})
    shutil.copyfile(copy.folder / first["file"], copy.folder / "lib" / "other.so")
    figures = check(copy)
    assert list(figures["libraries"]) == [first["file"], "lib/other.so"]
    (repeated,) = figures["actions"]["repeated"].items()
    assert repeated[0] == "lib/other.so" and repeated[1]["agreement"] == 1.0
    assert 0 < repeated[1]["steps"] < figures["actions"]["steps"]


def test_another_library_must_choose_the_same_where_that_is_certain() -> None:
    best = Choices([[1, 2], [3, 4], [5]], [], [[3.0, 0.03], [3.0, 0.01], [9.0]])
    figures = gate._same_choices("lib/x.so", best, Choices([[1, 2], [3, 5]], [], []))
    assert figures == {"steps": 2, "certain_steps": 1, "agreement": 0.5}
    with pytest.raises(UserError, match=r"lib/x\.so chooses another action .* on 1 of 1 recorded steps"):
        gate._same_choices("lib/x.so", best, Choices([[1, 3], [3, 4]], [], []))
    assert gate._same_choices("lib/x.so", Choices(), Choices())["agreement"] is None


def test_forced_tokens_are_no_close_call() -> None:
    theirs = Choices([[1, 2]], [[1, 2]], [[2.0, FORCED]])
    assert gate._actions([episode([[1, 2]])], theirs, theirs)["clear_steps"] == 1


def test_no_step_is_no_figure() -> None:
    figures = gate._actions([], Choices(), Choices())
    assert figures["steps"] == 0 and figures["agreement"] is None
    gate._judge_actions(PLAIN, figures, 1.0)


@pytest.mark.parametrize(("steps", "share", "passes"), [(100, 0.9, True), (100, 0.89, False), (19, 0.0, True)])
def test_the_bound(steps: int, share: float, passes: bool) -> None:
    figures = {"clear_steps": steps, "clear_agreement": share}
    if passes:
        gate._judge_actions(PLAIN, figures, 0.9)
    else:
        with pytest.raises(UserError, match=r"on 89\.0% of 100 recorded steps.*bound is 90\.0%"):
            gate._judge_actions(PLAIN, figures, 0.9)
