"""Matrix kernels with 8-bit inputs: equal to float64 over the rounded inputs, for every storage, variant and count."""

from __future__ import annotations

import re

import emulator
import numpy as np
import pytest

tvm = pytest.importorskip("tvm")

from test_matmul import X86, build, call, inputs, products, target_of, weights  # noqa: E402

from duomem.compile.kernels.int8 import int8_matmul  # noqa: E402
from duomem.compile.kernels.matmul import matmul  # noqa: E402
from duomem.compile.kernels.storage import STORAGES, Storage  # noqa: E402
from duomem.compile.kernels.tile import cpu_of  # noqa: E402
from duomem.device.engine.schemes import GROUP, INT8  # noqa: E402

GROUPED = [storage for storage in STORAGES.values() if storage.grouped]


def rounded(x: np.ndarray) -> np.ndarray:
    """float64 rows [m, k] as the kernels take them: int8 times a step, a group of 32."""
    groups = x.astype(np.float64).reshape(len(x), -1, GROUP)
    largest = np.abs(groups).max(2, keepdims=True)
    step = np.where(largest > 0, largest / 127, 1)
    return (np.rint((groups / step).astype(np.float32)) * step).reshape(x.shape)


def check(y: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    """Within float32's error of the rounded product; a rounding on the edge may fall to either side."""
    near = rounded(x)
    error = np.abs(y - near @ w.T)
    edge = (np.abs(x).reshape(len(x), -1, GROUP).max(2) / 127) @ np.abs(w).reshape(len(w), -1, GROUP).max(2).T
    assert (error <= 4e-6 * (np.abs(near) @ np.abs(w).T) + edge).all()
    assert np.quantile(error / (np.abs(near) @ np.abs(w).T + 1e-9), 0.9) < 1e-6


@pytest.mark.parametrize("storage", GROUPED, ids=lambda s: s.name)
@pytest.mark.parametrize("variant", [name for name in X86 if name not in ("plain", "avx", "avx512")])
def test_products_of_rounded_inputs(variant: str, storage: Storage) -> None:
    for y, x, w, _ in products(int8_matmul, variant, storage):
        check(y[0], x, w)


@pytest.mark.parametrize("storage", GROUPED, ids=lambda s: s.name)
def test_the_extremes_of_codes_and_inputs_do_not_overflow(storage: Storage) -> None:
    target = target_of("avx2")
    n, k = 32, 64
    arrays, _ = weights(storage, n, k)
    arrays[0][:] = 0xFFFFFFFF
    x = np.full((7, k), -1.0, np.float32)
    x[1::2] = 1.0
    scale = arrays[1].astype(np.float64) if storage.scale == "float16" else None
    if scale is None:
        scale = (arrays[1].astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    w = np.repeat(scale[0].T, GROUP, axis=1) * ((1 << storage.bits) - 1 - storage.zero)
    y = call(
        build(int8_matmul(storage, n, k, cpu_of(target), False), target),
        [x[None], *arrays, np.zeros((1, 7, n), np.float32)],
    )
    np.testing.assert_allclose(y[0], x @ w.T, rtol=1e-5, atol=1e-5)


def test_a_nan_is_not_rounded_away() -> None:
    target = target_of("avx2")
    arrays, _ = weights(STORAGES["q4"], 32, 64)
    x = np.ones((1, 1, 64), np.float32)
    x[0, 0, 40] = np.nan
    kernel = build(int8_matmul(STORAGES["q4"], 32, 64, cpu_of(target), True), target)
    assert np.isnan(call(kernel, [x, *arrays, np.zeros((1, 1, 32), np.float32)])).all()


def test_without_byte_products_inputs_stay_exact() -> None:
    cpu = cpu_of(target_of("plain"))
    assert matmul(STORAGES["q4"], 32, 64, cpu, False, INT8) is matmul(STORAGES["q4"], 32, 64, cpu, False)
    assert matmul(STORAGES["f16"], 32, 64, cpu, False, INT8) is matmul(STORAGES["f16"], 32, 64, cpu, False)


@pytest.mark.parametrize(("variant", "product"), [("dotprod", r"sdot.*\.4b\[\d\]"), ("i8mm", "smmla")])
def test_an_aarch64_tile_is_products_of_registers(variant: str, product: str) -> None:
    """Twelve rows by four columns of 32: as many products as that is, all codes unpacked once, no sum in memory."""
    target = emulator.variant_target(variant)
    cpu = cpu_of(target)
    kernel = int8_matmul(STORAGES["q4"], 64, 256, cpu, False).with_attr("global_symbol", "main")
    code = tvm.compile(tvm.IRModule({"main": kernel}), target=target).mod.inspect_source("asm")
    loops = [block.partition("\tb.ne\t")[0] for block in code.split("\n.LBB")]
    tile = max(loops, key=lambda loop: len(re.findall(product, loop)))
    rows, columns = cpu.int8_tiles[0]
    assert len(re.findall(product, tile)) == rows * columns * GROUP // (32 if product == "smmla" else 16)
    assert len(re.findall("ushr", tile)) == columns * GROUP // 2 // 16
    assert not re.search(r"\tst\w+\tq", tile)


@pytest.mark.qemu
@pytest.mark.skipif(emulator.missing() is not None, reason=emulator.missing() or "")
@pytest.mark.parametrize("storage", [STORAGES[name] for name in ("q4", "q8h")], ids=lambda s: s.name)
@pytest.mark.parametrize("variant", ["dotprod", "i8mm"])
def test_aarch64_gives_what_x86_gives_to_the_last_bit(variant: str, storage: Storage) -> None:
    """Of one row, and of rows that fill a tile of each size and leave some over."""
    cpu, x86 = cpu_of(emulator.variant_target(variant)), target_of("avx2")
    arrays, w = weights(storage, 70, 96)
    for m in (1, 29):
        x, y = inputs(m, 96), np.zeros((1, m, 70), np.float32)
        kernel = int8_matmul(storage, 70, 96, cpu, m == 1)
        found = emulator.run_kernel(kernel, [x[None], *arrays, y], variant)[-1]
        check(found[0], x, w)
        expected = call(build(int8_matmul(storage, 70, 96, cpu_of(x86), m == 1), x86), [x[None], *arrays, y])
        np.testing.assert_array_equal(found, expected)
