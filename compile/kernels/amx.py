"""CPU mat-mat in TIR with the tile instructions of x86's AMX, over weights of any storage.

AMX multiplies bfloat16 into float32. Inputs are the sum of three bfloat16 numbers, weights of two, or three where
two do not hold them, and the largest five (six) of the products are added: with inputs of two parts, a small
model's logits are off by 1e-3.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.simd import upper_half
from duomem.compile.kernels.storage import Storage, over_weights
from duomem.compile.kernels.tile import COLUMNS, Cpu

_SIDE = 16
DEPTH = 32
_WORDS = DEPTH // 2
_PARTS = 3
_CACHE = 1 << 20


def amx(name: str, *arguments: Any) -> Any:
    """The statement of an AMX instruction; tile registers are numbers known when compiling."""
    values = [T.uint8(a) if isinstance(a, int) else a for a in arguments]
    return T.call_llvm_intrin("int32", f"llvm.x86.{name}", *values)


@functools.cache
def amx_matmul(storage: Storage, n: int, k: int, cpu: Cpu) -> Any:
    """PrimFunc y[1, m, n] = x[1, m, k] @ W.T, float32, m dynamic, k a multiple of 32.

    Tile registers 0..3 hold the sums of 2 x 2 tiles, 4 and 5 the inputs of two rows of tiles, 6 and 7 weights.
    As many rows at a time as stay in the second-level cache.
    """
    blocks, depth, lanes = -(-n // COLUMNS), k // DEPTH, cpu.lanes
    halves = COLUMNS // _SIDE
    weight_parts = 2 if storage.bits in (4, 16) else 3
    most = max(1, _CACHE // (2 * _SIDE * k * 2 * _PARTS))
    assert lanes == _SIDE

    def pair(even: Any, odd: Any) -> Any:
        """int32 lanes: the upper halves of two vectors side by side, the even one below."""
        low = T.bitwise_and(T.shift_right(even, T.broadcast(T.int32(16), lanes)), T.broadcast(T.int32(0xFFFF), lanes))
        return T.bitwise_or(low, odd)

    def as_float(bits: Any, size: int) -> Any:
        return T.reinterpret(f"float32x{size}", bits)

    @T.macro
    def split_input(x, tile, row, m, d, parts):
        with T.sblock("split"):
            rest = T.sblock_alloc_buffer((DEPTH,), "float32")
            upper = T.sblock_alloc_buffer((DEPTH,), "int32")
            rest[T.ramp(0, 1, DEPTH)] = x[0, T.min(tile * _SIDE + row, m - 1), T.ramp(d * DEPTH, 1, DEPTH)]
            for p in T.unroll(_PARTS):
                upper[T.ramp(0, 1, DEPTH)] = upper_half(rest[T.ramp(0, 1, DEPTH)], DEPTH)
                rest[T.ramp(0, 1, DEPTH)] = rest[T.ramp(0, 1, DEPTH)] - as_float(upper[T.ramp(0, 1, DEPTH)], DEPTH)
                parts[tile, d, p, row, T.ramp(0, 1, _WORDS)] = T.reinterpret(
                    f"int32x{_WORDS}",
                    T.Cast(
                        f"int16x{DEPTH}",
                        T.shift_right(upper[T.ramp(0, 1, DEPTH)], T.broadcast(T.int32(16), DEPTH)),
                    ),
                )

    @T.macro
    def split_weights(w, scale, b, strip):
        for j in T.serial(k // 8):
            for h in T.unroll(halves):
                for i in T.unroll(4):
                    with T.sblock("weights"):
                        even = T.sblock_alloc_buffer((lanes,), "float32")
                        odd = T.sblock_alloc_buffer((lanes,), "float32")
                        even[T.ramp(0, 1, lanes)] = storage.values(w, scale, b, j * 8 + i * 2, h * _SIDE, lanes)
                        odd[T.ramp(0, 1, lanes)] = storage.values(w, scale, b, j * 8 + i * 2 + 1, h * _SIDE, lanes)
                        for p in T.unroll(weight_parts):
                            strip[j // 4, p, h, j % 4 * 4 + i, T.ramp(0, 1, lanes)] = pair(
                                upper_half(even[T.ramp(0, 1, lanes)], lanes),
                                upper_half(odd[T.ramp(0, 1, lanes)], lanes),
                            )
                            even[T.ramp(0, 1, lanes)] = even[T.ramp(0, 1, lanes)] - as_float(
                                upper_half(even[T.ramp(0, 1, lanes)], lanes), lanes
                            )
                            odd[T.ramp(0, 1, lanes)] = odd[T.ramp(0, 1, lanes)] - as_float(
                                upper_half(odd[T.ramp(0, 1, lanes)], lanes), lanes
                            )

    def load(register: int, buffer: Any, *index: Any) -> Any:
        start = (*index, 0, 0)
        return amx("tileloadd64", register, T.address_of(buffer[start]), T.int64(4 * _WORDS))

    def store(register: int, buffer: Any, *index: Any) -> Any:
        start = (*index, 0, 0)
        return amx("tilestored64", register, T.address_of(buffer[start]), T.int64(4 * _SIDE))

    @T.macro
    def load_inputs(parts, t, d, p):
        T.evaluate(load(4, parts, 2 * t, d, p))
        T.evaluate(load(5, parts, 2 * t + 1, d, p))

    @T.macro
    def load_weights(strip, d, p):
        T.evaluate(load(6, strip, d, p, 0))
        T.evaluate(load(7, strip, d, p, 1))

    @T.macro
    def multiply():
        T.evaluate(amx("tdpbf16ps", 0, 4, 6))
        T.evaluate(amx("tdpbf16ps", 1, 4, 7))
        T.evaluate(amx("tdpbf16ps", 2, 5, 6))
        T.evaluate(amx("tdpbf16ps", 3, 5, 7))

    @T.macro
    def body(x, w, scale, y, m):
        config = T.alloc_buffer((16,), "int32")
        parts = T.alloc_buffer(((m + 31) // 32 * 2, depth, _PARTS, _SIDE, _WORDS), "int32")
        for i in T.serial(16):
            config[i] = 0
        config[0] = 1
        for i in T.serial(4):
            config[4 + i] = 0x00400040
        for i in T.serial(2):
            config[12 + i] = 0x10101010
        for tile in T.parallel((m + 31) // 32 * 2):
            for d in T.serial(depth):
                for row in T.serial(_SIDE):
                    split_input(x, tile, row, m, d, parts)
        for chunk in T.serial(((m + 31) // 32 + most - 1) // most):
            for b in T.parallel(blocks):
                with T.sblock("strip"):
                    strip = T.sblock_alloc_buffer((depth, weight_parts, halves, _WORDS, _SIDE), "int32")
                    sums = T.sblock_alloc_buffer((2, 2, _SIDE, _SIDE), "float32")
                    split_weights(w, scale, b, strip)
                    T.evaluate(amx("ldtilecfg", T.address_of(config[0])))
                    for t in T.serial(chunk * most, T.min((m + 31) // 32, (chunk + 1) * most)):
                        T.evaluate(amx("tilezero", 0))
                        T.evaluate(amx("tilezero", 1))
                        T.evaluate(amx("tilezero", 2))
                        T.evaluate(amx("tilezero", 3))
                        for d in T.serial(depth):
                            load_weights(strip, d, 0)
                            load_inputs(parts, t, d, 2)
                            multiply()
                            load_inputs(parts, t, d, 1)
                            multiply()
                            load_weights(strip, d, 1)
                            multiply()
                            load_inputs(parts, t, d, 0)
                            multiply()
                            if weight_parts == 3:
                                load_weights(strip, d, 2)
                                multiply()
                            load_weights(strip, d, 0)
                            multiply()
                        T.evaluate(store(0, sums, 0, 0))
                        T.evaluate(store(1, sums, 0, 1))
                        T.evaluate(store(2, sums, 1, 0))
                        T.evaluate(store(3, sums, 1, 1))
                        for i in T.serial(2):
                            for row in T.serial(_SIDE):
                                if t * 32 + i * _SIDE + row < m:
                                    for h in T.unroll(halves):
                                        for c in T.vectorized(_SIDE):
                                            if b * COLUMNS + h * _SIDE + c < n:
                                                y[0, t * 32 + i * _SIDE + row, b * COLUMNS + h * _SIDE + c] = sums[
                                                    i, h, row, c
                                                ]
                    T.evaluate(amx("tilerelease"))

    return over_weights(storage, n, k, body, k, "float32", n)
