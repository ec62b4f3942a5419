"""The libraries of the portable targets: each keeps to its variant's instructions, and all compute the same."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duomem.compile.library.build import building
from duomem.compile.library.target import LLVM_NAMES, Variant, load_target
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core import cpu
from duomem.core.cpu import cpu_arch, cpu_features
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.tvm_engine import TvmEngine

VARIANTS = [(target, variant.name) for target in ("x86_64", "aarch64") for variant in load_target(target).variants]
TOKENS = np.random.default_rng(5).integers(0, 256, 60).tolist()

# What must not be, and what must be, in the assembly of each.
EVEX = r"zmm|%[xy]mm(?:1[6-9]|2\d|3[01])|%k[0-7]"
AMX, VNNI = r"%tmm|\ttdp", r"\tvpdpbusd"
HALF = r"\tf(?:mul|mla|add|sub|div)\tv\d+\.[48]h"
DOT, MATRIX = r"\t[su]dot\t", r"\t(?:[su]|us)mmla\t"
SVE = r"\tz\d+\.|\tptrue"
RULES: dict[str, tuple[list[str], list[str]]] = {
    "amx": ([], ["zmm"]),
    "avx512_vnni": ([AMX, "\tvdpbf16ps"], ["zmm"]),
    "avx2": ([EVEX, AMX, VNNI], ["ymm", "\tvfmadd"]),
    "i8mm": ([SVE, r"\tbf(?:dot|mmla|mlal|cvt)"], ["\tfmla"]),
    "dotprod": ([SVE, MATRIX], ["\tfmla"]),
    "neon": ([SVE, MATRIX, DOT, HALF], ["\tfmla"]),
}


def variant_of(target: str, name: str) -> Variant:
    return next(variant for variant in load_target(target).variants if variant.name == name)


@pytest.mark.parametrize(("target", "name"), VARIANTS)
def test_a_cpu_with_the_features_named_has_all_that_llvm_may_use(target: str, name: str) -> None:
    """So that no library can hold an instruction a CPU it is chosen for lacks."""
    import tvm

    from duomem.compile.library.worker import resolve_target

    variant = variant_of(target, name)
    resolved = resolve_target(variant.llvm)
    has = tvm.get_global_func("target.target_has_feature")
    arm = {"asimd", "asimdhp", "fphp", "asimddp", "atomics", "asimdrdm", "sve", "sve2", "i8mm", "bf16"}
    family = {k: v for k, v in LLVM_NAMES.items() if (k in arm) == (target == "aarch64")}
    assert {linux for linux, llvm in family.items() if has(llvm, resolved)} == set(variant.cpu_features)


def test_every_feature_of_x86_is_known_by_both_names() -> None:
    assert cpu._KNOWN | set(cpu._HWCAP) | set(cpu._HWCAP2) == set(LLVM_NAMES)


@pytest.mark.parametrize("target", ["x86_64", "aarch64"])
def test_variants_are_listed_best_first(target: str) -> None:
    features = [set(variant.cpu_features) for variant in load_target(target).variants]
    assert all(better > worse for better, worse in itertools.pairwise(features))


@pytest.mark.slow
@pytest.mark.parametrize(("target", "name"), VARIANTS)
@pytest.mark.parametrize(("scheme", "activations"), [("q4f32_1", "exact"), ("q4f32_1", "int8"), ("q0f32", "exact")])
def test_the_code_keeps_to_its_variant(tiny_model: Path, target: str, name: str, scheme: str, activations: str) -> None:
    from duomem.compile.library.worker import compile_decoder, resolve_target

    variant = variant_of(target, name)
    job: dict[str, Any] = {
        "config": Checkpoint(tiny_model).config.to_json(),
        "scheme": scheme,
        "activations": activations,
    }
    executable = compile_decoder(job | {"prefill_chunk": 64, "all_chunk": 64}, resolve_target(variant.llvm))
    text = assembly(executable.mod)
    assert "decode" in text and len(text) > 100_000
    forbidden, needed = RULES[name]
    for pattern in forbidden:
        found = re.search(f".*(?:{pattern}).*", text)
        assert found is None, found
    for pattern in needed if activations == "exact" else ():
        assert re.search(pattern, text), pattern


def assembly(module: Any) -> str:
    own = module.inspect_source("s") if module.kind == "llvm" else ""
    return own + "".join(assembly(part) for part in module.imports)


@pytest.mark.skipif(cpu_arch() != "x86_64", reason="the x86_64 libraries run on x86-64 only")
def test_every_library_this_cpu_runs_computes_the_same(tiny_model: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    native = read_bundle(tiny_bundle)
    expected = run(native, native.libraries[0].file)
    target = load_target("x86_64")
    (tmp_path / "lib").mkdir()
    (tmp_path / "model").symlink_to(tiny_bundle / "model")
    with building(Checkpoint(tiny_model), "q4f32_1", target, 256, "exact", tmp_path) as finish:
        libraries = finish()
    described = {"name": "x86_64", "device": "cpu", "arch": "x86_64", "libraries": libraries}
    bundle = Bundle(tmp_path, {**native.manifest, "target": described})
    runnable = bundle.runnable(cpu_features())
    if not runnable:
        pytest.skip("this CPU has no AVX2")
    for library in runnable:
        assert float(np.abs(run(bundle, library.file) - expected).max()) < 1e-3, library.file
    assert TvmEngine.open(bundle).library == runnable[0]


def run(bundle: Bundle, library: str) -> np.ndarray:
    """Logits of a prefill and ten decoded tokens."""
    session = TvmEngine.open(bundle, max_sessions=1, library=library).session()
    logits = [session.prefill(TOKENS[:-10])]
    return np.stack([*logits, *(session.decode(token) for token in TOKENS[-10:])])
