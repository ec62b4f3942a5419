"""GPU kernels between the fused projection and the KV cache: norms of heads, rotary positions with the split.

The angles do not lean on the driver: frequencies are the CPU kernels' constants, sine and cosine polynomials of a
reduced angle (coefficients of S. Moshier's Cephes), since WGSL promises 2**-11 only, and nothing for angles above pi.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import functools
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script import tirx as T

_LANES = 64
_SINE = (-1.6666654611e-1, 8.3321608736e-3, -1.9515295891e-4)
_COSINE = (4.166664568298827e-2, -1.388731625493765e-3, 2.443315711809948e-5)
_QUARTERS = (1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8)
"""Pi / 2 in three parts; the first two have few enough bits that multiples of them are exact."""


def split(heads: int, kv_heads: int, dim: int, turns: np.ndarray) -> Any:
    """PrimFunc: qkv float32 [n, heads + 2 kv, d], positions int32 [n] -> q [n, heads, d], k and v [n, kv, d].

    Elements i and i + d/2 of queries and keys are rotated as a pair, as transformers does, by turns[i] radians a
    position (see kernels.rope.frequencies). TVM's cache calls it; `apply_rope` is not looked at. A thread does one
    pair.
    """
    half, total = dim // 2, heads + 2 * kv_heads

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
        n, offset = T.int32(), T.int32()
        qkv = T.match_buffer(qkv_handle, (n, total, dim), "float32")
        position = T.match_buffer(position_handle, (n,), "int32", elem_offset=offset)
        q = T.match_buffer(q_handle, (n, heads, dim), "float32")
        k = T.match_buffer(k_handle, (n, kv_heads, dim), "float32")
        v = T.match_buffer(v_handle, (n, kv_heads, dim), "float32")
        for block in T.thread_binding((n * total * half + _LANES - 1) // _LANES, thread="blockIdx.x"):
            for lane in T.thread_binding(_LANES, thread="threadIdx.x"):
                with T.sblock("pair"):
                    T.reads()
                    T.writes()
                    angle = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    quarter = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    wave = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    pair = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    index = T.meta_var(block * _LANES + lane)
                    token = T.meta_var(index // (total * half))
                    head = T.meta_var(index // half % total)
                    i = T.meta_var(index % half)
                    if index < n * total * half:
                        pair[0] = qkv[token, head, i]
                        pair[1] = qkv[token, head, half + i]
                        if head < heads + kv_heads:
                            angle[0] = T.Cast("float32", position[token]) * _chosen(turns, i)
                            quarter[0] = T.floor(angle[0] * _exact(2 / np.pi) + T.float32(0.5))
                            angle[0] = angle[0] - quarter[0] * _exact(_QUARTERS[0])
                            angle[0] = angle[0] - quarter[0] * _exact(_QUARTERS[1])
                            angle[0] = angle[0] - quarter[0] * _exact(_QUARTERS[2])
                            angle[1] = angle[0] * angle[0]
                            wave[0] = angle[0] + angle[0] * angle[1] * _polynomial(_SINE, angle[1])
                            wave[1] = (
                                T.float32(1)
                                - T.float32(0.5) * angle[1]
                                + angle[1] * angle[1] * _polynomial(_COSINE, angle[1])
                            )
                            turn = T.meta_var(T.Cast("int32", quarter[0]) % 4)
                            # By the quarter: (sin, cos), (cos, -sin), (-sin, -cos), (-cos, sin) of the angle.
                            angle[0] = T.Select(turn % 2 == 0, wave[0], wave[1])
                            angle[1] = T.Select(turn % 2 == 0, wave[1], wave[0])
                            wave[0] = T.Select(turn < 2, angle[0], -angle[0])
                            wave[1] = T.Select(turn == 0 or turn == 3, angle[1], -angle[1])
                            angle[0] = pair[0] * wave[1] - pair[1] * wave[0]
                            angle[1] = pair[1] * wave[1] + pair[0] * wave[0]
                            if head < heads:
                                q[token, head, i] = angle[0]
                                q[token, head, half + i] = angle[1]
                            else:
                                k[token, head - heads, i] = angle[0]
                                k[token, head - heads, half + i] = angle[1]
                        else:
                            v[token, head - heads - kv_heads, i] = pair[0]
                            v[token, head - heads - kv_heads, half + i] = pair[1]

    return rope_split


@functools.cache
def head_norm(heads: int, kv_heads: int, dim: int, epsilon: float) -> Any:
    """PrimFunc: qkv float32 [1, s, heads + 2 kv, d], weights [d] for queries and for keys -> like qkv.

    Queries and keys are RMS-normed over d. A workgroup does one head of one token.
    """
    total, lanes = heads + 2 * kv_heads, min(_LANES, dim)

    @T.prim_func(private=True, s_tir=True)
    def head_norm_kernel(x_handle: T.handle, q_weight_handle: T.handle, k_weight_handle: T.handle, y_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        s = T.int64()
        x = T.match_buffer(x_handle, (1, s, total, dim), "float32")
        q_weight = T.match_buffer(q_weight_handle, (dim,), "float32")
        k_weight = T.match_buffer(k_weight_handle, (dim,), "float32")
        y = T.match_buffer(y_handle, (1, s, total, dim), "float32")
        for row in T.thread_binding(s * total, thread="blockIdx.x"):
            for lane in T.thread_binding(lanes, thread="threadIdx.x"):
                with T.sblock("head"):
                    T.reads()
                    T.writes()
                    sums = T.sblock_alloc_buffer((lanes,), "float32", scope="shared")
                    power = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    token, head = T.meta_var(row // total), T.meta_var(row % total)
                    power[0] = T.float32(0)
                    for j in range(-(-dim // lanes)):
                        e = T.meta_var(j * lanes + lane)
                        if e < dim:
                            power[0] = power[0] + x[0, token, head, e] * x[0, token, head, e]
                    sums[lane] = power[0]
                    T.tvm_storage_sync("shared")
                    power[0] = T.float32(0)
                    for j in range(lanes):
                        power[0] = power[0] + sums[j]
                    power[0] = T.float32(1) / T.sqrt(power[0] / T.float32(dim) + T.float32(epsilon))
                    for j in range(-(-dim // lanes)):
                        e = T.meta_var(j * lanes + lane)
                        if e < dim:
                            if head < heads:
                                y[0, token, head, e] = x[0, token, head, e] * power[0] * q_weight[e]
                            elif head < heads + kv_heads:
                                y[0, token, head, e] = x[0, token, head, e] * power[0] * k_weight[e]
                            else:
                                y[0, token, head, e] = x[0, token, head, e]

    return head_norm_kernel


def _exact(value: float) -> Any:
    """A float32 constant by its bits: TVM writes seven digits of one into WGSL."""
    return T.reinterpret("float32", tirx.const(int(np.float32(value).view(np.uint32)), "uint32"))


def _chosen(values: np.ndarray, i: Any) -> Any:
    """values[i], by halving: a constant array that every language of kernels has."""
    if len(values) == 1:
        return _exact(values[0])
    middle = len(values) // 2
    return T.Select(i < middle, _chosen(values[:middle], i), _chosen(values[middle:], i - middle))


def _polynomial(factors: tuple[float, ...], x: Any) -> Any:
    """factors[0] + factors[1] x + ..., by Horner's rule."""
    result = _exact(factors[-1])
    for factor in reversed(factors[:-1]):
        result = result * x + _exact(factor)
    return result
