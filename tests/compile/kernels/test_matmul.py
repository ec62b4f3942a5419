"""Matrix kernels of every storage and variant against float64, on weights re-tiled as an engine does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import emulator
import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from duomem.compile.kernels.dot import dot_matvec  # noqa: E402
from duomem.compile.kernels.embedding import embedding  # noqa: E402
from duomem.compile.kernels.matmul import matmul  # noqa: E402
from duomem.compile.kernels.storage import STORAGES, Storage  # noqa: E402
from duomem.compile.kernels.swiglu import swiglu  # noqa: E402
from duomem.compile.kernels.tile import COLUMNS, Cpu, cpu_of  # noqa: E402
from duomem.core.cpu import cpu_arch, cpu_features  # noqa: E402
from duomem.device.engine.schemes import GROUP  # noqa: E402
from duomem.device.engine.weights import tile_rows  # noqa: E402

X86 = {
    "plain": ("x86-64", [], set()),
    "avx": ("sandybridge", [], {"avx"}),
    "avx2": ("x86-64-v3", [], {"avx2", "fma"}),
    "avx_vnni": ("x86-64-v3", ["+avxvnni"], {"avx2", "fma", "avx_vnni"}),
    "avx512": ("x86-64-v4", [], {"avx512f", "avx512bw", "avx512vl"}),
    "avx512_vnni": ("x86-64-v4", ["+avx512vnni"], {"avx512bw", "avx512_vnni"}),
    "amx": ("x86-64-v4", ["+avx512vnni", "+amx-tile", "+amx-bf16"], {"avx512_vnni", "amx_tile", "amx_bf16"}),
}
"""Variant -> LLVM's CPU and attributes, and what the machine must have to run it."""

SHAPES = {(100, 96): (1, 2, 7, 33), (33, 1536): (1, 100)}
"""(n, k) of matrices -> m of inputs; the last needs two rounds of AMX's cache blocks."""


def target_of(variant: str) -> Any:
    cpu, attributes, features = X86[variant]
    if cpu_arch() != "x86_64" or not features <= (cpu_features() or set()):
        pytest.skip(f"this machine cannot run {variant} code")
    return tvm.target.Target({"kind": "llvm", "mcpu": cpu} | ({"mattr": attributes} if attributes else {}))


def build(function: Any, target: Any) -> Any:
    return tvm.compile(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), target=target)["main"]


def call(function: Any, arrays: list[np.ndarray]) -> np.ndarray:
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    function(*tensors)
    return tensors[-1].numpy()


def weights(storage: Storage, n: int, k: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Random arrays of a kernel, and the matrix float64 [n, k] they stand for; scales of both signs."""
    rng = np.random.default_rng(n * k)
    if not storage.grouped:
        w = rng.standard_normal((n, k)).astype(f"float{storage.bits}")
        return [tile_rows(w, COLUMNS)], w.astype(np.float64)
    codes = rng.integers(0, 1 << storage.bits, (n, k), dtype=np.uint8)
    codes[0], codes[1] = 0, (1 << storage.bits) - 1
    scale = (rng.standard_normal((n, k // GROUP)) * 0.1).astype(np.float32)
    if storage.scale == "uint16":
        bits = (scale.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        scale = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    else:
        bits = scale.astype(np.float16)
    packed = codes[:, 0::2] | codes[:, 1::2] << np.uint8(4) if storage.bits == 4 else codes
    words = np.ascontiguousarray(packed).view("<u4")
    exact = bits.astype(np.float64) if bits.dtype == np.float16 else scale.astype(np.float64)
    w = (codes.astype(np.float64) - storage.zero).reshape(n, -1, GROUP) * exact[:, :, None]
    return [tile_rows(words, COLUMNS), tile_rows(bits, COLUMNS)], w.reshape(n, k)


def inputs(m: int, k: int) -> np.ndarray:
    """Random rows [m, k] with an outlier, and a group of zeros in the first."""
    x = np.random.default_rng(m).standard_normal((m, k)).astype(np.float32)
    x[:, 5] *= 100
    x[0, -GROUP:] = 0
    return x


def product_bound(x: np.ndarray, w: np.ndarray, dot: bool) -> np.ndarray:
    """Largest error allowed: float32's, and half a step of 23 bits an input where those are rounded."""
    bound = 4e-6 * (np.abs(x) @ np.abs(w).T)
    if dot:
        largest = np.abs(x).reshape(len(x), -1, GROUP).max(2)
        bound += largest / (1 << 23) * 1.01 @ np.abs(w).reshape(len(w), -1, GROUP).sum(2).T
    return bound


def check_product(y: np.ndarray, x: np.ndarray, w: np.ndarray, dot: bool) -> None:
    assert (np.abs(y[0] - x.astype(np.float64) @ w.T) <= product_bound(x.astype(np.float64), w, dot)).all()


def products(
    kernel: Callable[..., Any], variant: str, storage: Storage
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, bool]]:
    """(y [1, m, n], x [m, k], w [n, k], whether by the kernel for one row) of kernel(storage, n, k, cpu, one_row)."""
    target = target_of(variant)
    for (n, k), counts in SHAPES.items():
        arrays, w = weights(storage, n, k)
        many, one = (build(kernel(storage, n, k, cpu_of(target), one_row), target) for one_row in (False, True))
        for function, m in [(one, 1), *((many, m) for m in counts)]:
            x, y = inputs(m, k), np.full((1, m, n), np.nan, np.float32)
            yield call(function, [x[None], *arrays, y]), x, w, function is one


@pytest.mark.parametrize("storage", STORAGES.values(), ids=lambda s: s.name)
@pytest.mark.parametrize("variant", X86)
def test_products(variant: str, storage: Storage) -> None:
    for y, x, w, one_row in products(matmul, variant, storage):
        check_product(y, x, w, one_row)


def test_odd_depths_of_float_weights() -> None:
    target = target_of("amx")
    arrays, w = weights(STORAGES["f32"], 40, 50)
    x = np.random.default_rng(0).standard_normal((9, 50)).astype(np.float32)
    y = call(
        build(matmul(STORAGES["f32"], 40, 50, cpu_of(target), False), target),
        [x[None], *arrays, np.zeros((1, 9, 40), np.float32)],
    )
    check_product(y, x, w, False)


@pytest.mark.parametrize("storage", STORAGES.values(), ids=lambda s: s.name)
@pytest.mark.parametrize("variant", ["plain", "avx512"])
def test_rows_are_exact(variant: str, storage: Storage) -> None:
    arrays, w = weights(storage, 100, 96)
    ids = np.array([[0, 99, 31, 32, 5, 99]], np.int32)
    y = call(build(embedding(storage, 100, 96), target_of(variant)), [ids, *arrays, np.zeros((1, 6, 96), np.float32)])
    assert np.array_equal(y[0], w[ids[0]].astype(np.float32))


def test_a_nan_is_not_rounded_away() -> None:
    target = target_of("avx512_vnni")
    arrays, _ = weights(STORAGES["q4"], 32, 64)
    x = np.ones((1, 1, 64), np.float32)
    x[0, 0, 40] = np.nan
    kernel = build(dot_matvec(STORAGES["q4"], 32, 64, cpu_of(target)), target)
    assert np.isnan(call(kernel, [x, *arrays, np.zeros((1, 1, 32), np.float32)])).all()


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("plain", Cpu(128, 16)),
        ("avx", Cpu(256, 16)),
        ("avx2", Cpu(256, 16, "maddubs", half=True)),
        ("avx_vnni", Cpu(256, 16, "vnni", half=True)),
        ("avx512", Cpu(512, 32, half=True)),
        ("avx512_vnni", Cpu(512, 32, "vnni", half=True)),
        ("amx", Cpu(512, 32, "vnni", "amx", half=True)),
    ],
)
def test_a_cpu_is_known_by_its_features(variant: str, expected: Cpu) -> None:
    cpu, attributes, _ = X86[variant]
    target = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": cpu} | (
        {"mattr": attributes} if attributes else {}
    )
    assert cpu_of(tvm.target.Target(target)) == expected


@pytest.mark.parametrize(
    ("variant", "dot", "matrix"), [("neon", "", ""), ("dotprod", "sdot", ""), ("i8mm", "sdot", "smmla")]
)
def test_an_aarch64_cpu_is_known_by_its_variant(variant: str, dot: str, matrix: str) -> None:
    assert cpu_of(emulator.variant_target(variant)) == Cpu(128, 32, dot, matrix, half=True)


@pytest.mark.parametrize(("activation", "m", "size"), [("silu", 1, 50), ("silu", 7, 64), ("gelu_tanh", 3, 48)])
def test_gated_activations(activation: str, m: int, size: int) -> None:
    x = np.random.default_rng(m).standard_normal((1, m, 2 * size)).astype(np.float32) * 6
    y = call(build(swiglu(size, activation), target_of("plain")), [x, np.zeros((1, m, size), np.float32)])
    gate, up = x[..., :size].astype(np.float64), x[..., size:]
    inner = gate if activation == "silu" else 2 * np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
    np.testing.assert_allclose(y, gate / (1 + np.exp(-inner)) * up, atol=2e-6, rtol=2e-6)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="relu"):
        swiglu(8, "relu")


@pytest.mark.qemu
@pytest.mark.skipif(emulator.missing() is not None, reason=emulator.missing() or "")
@pytest.mark.parametrize("storage", [STORAGES[name] for name in ("f16", "q4", "q8h")], ids=lambda s: s.name)
@pytest.mark.parametrize("variant", ["neon", "dotprod"])
def test_products_on_aarch64(variant: str, storage: Storage) -> None:
    cpu = cpu_of(emulator.variant_target(variant))
    arrays, w = weights(storage, 70, 96)
    for m in (1, 5):
        x, y = inputs(m, 96), np.zeros((1, m, 70), np.float32)
        kernel = matmul(storage, 70, 96, cpu, m == 1)
        check_product(emulator.run_kernel(kernel, [x[None], *arrays, y], variant)[-1], x, w, m == 1)
