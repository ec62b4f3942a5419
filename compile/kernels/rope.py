"""CPU kernels between the fused projection and the KV cache: rotary angles, bias + norm + rotation, the split.

The angles of a token are computed once a forward pass and shared by all layers (`angles`). `rotate` then
does in one sweep what a family asks of a head: bias, RMS norm, rotation, scale of the scores. `split` is
what TVM's cache calls to take the result apart.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
import math
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

_LANES = 16


def frequencies(head_dim: int, theta: float, scaling: dict[str, Any]) -> np.ndarray:
    """float32 [head_dim / 2]: radians a position for each pair of elements, as transformers computes them.

    `scaling` is DecoderConfig.rope_scaling: empty, or of type "linear" or "llama3".
    """
    powers = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    plain = (np.float32(1) / np.power(np.float32(theta), powers)).astype(np.float32)
    kind = scaling.get("rope_type", "default")
    if kind == "default":
        return plain
    slow = (plain / np.float32(scaling["factor"])).astype(np.float32)
    if kind == "linear":
        return slow
    if kind != "llama3":
        raise ValueError(f"rope type {kind!r} is not known")
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * plain / (2 * math.pi)
    blend = np.clip((turns - low) / (high - low), 0, 1)
    return ((1 - blend) * slow + blend * plain).astype(np.float32)


@functools.cache
def angles(head_dim: int) -> Any:
    """PrimFunc: positions int32 [n], frequencies [d / 2] -> [n, d]: each token's cosines, then its sines."""
    half = head_dim // 2

    @T.prim_func(private=True, s_tir=True)
    def rope_angles(position_handle: T.handle, frequency_handle: T.handle, output_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n, offset = T.int32(), T.int32()
        position = T.match_buffer(position_handle, (n,), "int32", elem_offset=offset)
        frequency = T.match_buffer(frequency_handle, (half,), "float32")
        output = T.match_buffer(output_handle, (n, head_dim), "float32")
        for token in T.serial(n):
            for i in T.serial(half):
                with T.sblock("angles"):
                    output[token, i] = T.cos(T.Cast("float32", position[token]) * frequency[i])
                    output[token, half + i] = T.sin(T.Cast("float32", position[token]) * frequency[i])

    return rope_angles


@functools.cache
def rotate(
    heads: int,
    kv_heads: int,
    head_dim: int,
    scale: float,
    epsilon: float,
    bias: bool,
    norm: bool,
    loop: Any,
    dtype: str,
) -> Any:
    """PrimFunc: x [1, n, (heads + 2 kv) d], angles [n, d], vectors -> y [n, heads + 2 kv, d] of `dtype`, for the cache.

    The vectors are a bias [(heads + 2 kv) d] with `bias`, then weights [d] for queries and for keys with `norm`.
    The bias is added; queries and keys are RMS-normed over d, and their elements i and i + d/2 rotated as a
    pair, as transformers does; queries are multiplied by `scale` at last. `loop` runs over the tokens: T.serial
    or T.parallel.
    """
    half, total = head_dim // 2, heads + 2 * kv_heads

    @T.macro
    def turn(x, angle, bias_vector, weight, y, token, first, count, factor):
        for h in T.serial(count):
            with T.sblock("head"):
                part = T.sblock_alloc_buffer((head_dim,), "float32")
                squares = T.sblock_alloc_buffer((_LANES,), "float32")
                power = T.sblock_alloc_buffer((1,), "float32")
                for i in T.vectorized(head_dim):
                    part[i] = x[0, token, (first + h) * head_dim + i]
                if bias:
                    for i in T.vectorized(head_dim):
                        part[i] = part[i] + bias_vector[(first + h) * head_dim + i]
                if norm:
                    for c in T.vectorized(_LANES):
                        squares[c] = T.float32(0)
                    for block in T.unroll((head_dim + _LANES - 1) // _LANES):
                        for c in T.vectorized(_LANES):
                            squares[c] = squares[c] + T.Select(
                                block * _LANES + c < head_dim,
                                part[T.min(block * _LANES + c, head_dim - 1)]
                                * part[T.min(block * _LANES + c, head_dim - 1)],
                                T.float32(0),
                            )
                    power[0] = T.float32(0)
                    for c in T.unroll(_LANES):
                        power[0] = power[0] + squares[c]
                    power[0] = T.float32(1) / T.sqrt(power[0] * T.float32(1 / head_dim) + T.float32(epsilon))
                    for i in T.vectorized(head_dim):
                        part[i] = part[i] * power[0] * weight[i]
                for i in T.vectorized(half):
                    y[token, first + h, i] = T.Cast(
                        dtype,
                        (part[i] * angle[token, i] - part[half + i] * angle[token, half + i]) * T.float32(factor),
                    )
                for i in T.vectorized(half):
                    y[token, first + h, half + i] = T.Cast(
                        dtype,
                        (part[half + i] * angle[token, i] + part[i] * angle[token, half + i]) * T.float32(factor),
                    )

    @T.prim_func(private=True, s_tir=True)
    def rope_rotate(
        x_handle: T.handle,
        angle_handle: T.handle,
        bias_handle: T.handle,
        q_weight_handle: T.handle,
        k_weight_handle: T.handle,
        y_handle: T.handle,
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n = T.int32()
        x = T.match_buffer(x_handle, (1, n, total * head_dim), "float32")
        angle = T.match_buffer(angle_handle, (n, head_dim), "float32")
        bias_vector = T.match_buffer(bias_handle, (total * head_dim,), "float32")
        q_weight = T.match_buffer(q_weight_handle, (head_dim,), "float32")
        k_weight = T.match_buffer(k_weight_handle, (head_dim,), "float32")
        y = T.match_buffer(y_handle, (n, total, head_dim), dtype)
        for token in loop(n):
            turn(x, angle, bias_vector, q_weight, y, token, 0, heads, scale)
            turn(x, angle, bias_vector, k_weight, y, token, heads, kv_heads, 1.0)
            for h in T.serial(kv_heads):
                with T.sblock("value"):
                    part = T.sblock_alloc_buffer((head_dim,), "float32")
                    for i in T.vectorized(head_dim):
                        part[i] = x[0, token, (heads + kv_heads + h) * head_dim + i]
                    if bias:
                        for i in T.vectorized(head_dim):
                            part[i] = part[i] + bias_vector[(heads + kv_heads + h) * head_dim + i]
                    for i in T.vectorized(head_dim):
                        y[token, heads + kv_heads + h, i] = T.Cast(dtype, part[i])

    x, angle, bias_vector, q_weight, k_weight, y = rope_rotate.params
    vectors = [bias_vector] * bias + [q_weight, k_weight] * norm
    return tirx.PrimFunc([x, angle, *vectors, y], rope_rotate.body, rope_rotate.ret_type, rope_rotate.attrs)


@functools.cache
def split(heads: int, kv_heads: int, head_dim: int, dtype: str) -> Any:
    """PrimFunc: qkv [n, heads + 2 kv, d] -> q [n, heads, d], k and v [n, kv, d], all of `dtype`.

    TVM's cache calls it to rotate too; positions and `apply_rope` are not looked at.
    """

    @T.prim_func(s_tir=True)
    def rope_split(
        qkv_handle: T.handle,
        position_handle: T.handle,
        q_handle: T.handle,
        k_handle: T.handle,
        v_handle: T.handle,
        apply_rope: T.int64,
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n = T.int32()
        qkv = T.match_buffer(qkv_handle, (n, heads + 2 * kv_heads, head_dim), dtype)
        q = T.match_buffer(q_handle, (n, heads, head_dim), dtype)
        k = T.match_buffer(k_handle, (n, kv_heads, head_dim), dtype)
        v = T.match_buffer(v_handle, (n, kv_heads, head_dim), dtype)
        for token in T.serial(n):
            with T.sblock("split"):
                for h in T.serial(heads):
                    for i in T.vectorized(head_dim):
                        q[token, h, i] = qkv[token, h, i]
                for h in T.serial(kv_heads):
                    for i in T.vectorized(head_dim):
                        k[token, h, i] = qkv[token, heads + h, i]
                    for i in T.vectorized(head_dim):
                        v[token, h, i] = qkv[token, heads + kv_heads + h, i]

    return rope_split
