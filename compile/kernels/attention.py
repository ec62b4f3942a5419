"""The CPU attention macro in TIR, and the kernel of new tokens among themselves (ragged prefill).

TVM's own CPU kernels are scalar loops, its paged prefill even over every page of the pool. These have the
same signatures; parameters for rotation inside attention (positions, rope_*) are there and not looked at.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
import math
from typing import Any

from tvm.script import tirx as T

PAGE = 16
WIDTH = 2 * PAGE
"""Keys scored at once: one vector register or a few."""

_MASKED = -5e4
LOG2_E = math.log2(math.e)
_EXP2 = [math.sqrt(2) * math.log(2) ** i / math.factorial(i) for i in range(7)]


def exp2_part(x: Any) -> Any:
    """2**x for 0 <= x < 1 by the Taylor polynomial around 1/2; relative error 1.2e-7, no library call."""
    t = x - T.float32(0.5)
    value = T.float32(_EXP2[-1])
    for coefficient in reversed(_EXP2[:-1]):
        value = value * t + T.float32(coefficient)
    return value


def attend_macro(heads: int, kv_heads: int, head_dim: int, rows: int) -> Any:
    """The macro all three kernels share: softmax(q k^T) v of `count` new tokens for one key head.

    `keys` holds the key head's keys, transposed: [blocks, head_dim, WIDTH]. `value_at(token, i)` reads a
    value. Token t of the new ones sees the first visible + t * causal keys. Rows, i.e. pairs of a new token
    and a query head of the group, are worked on `rows` at a time. lse is in base 2, as TVM merges it.
    """
    group = heads // kv_heads

    @T.macro
    def attend(q, first, count, head, keys, blocks, visible, causal, value_at, scale, output, lse):
        for tile in T.serial((count * group + rows - 1) // rows):
            with T.sblock("rows"):
                r0 = T.meta_var(tile * rows)
                last = T.meta_var(T.min(r0 + rows, count * group) - 1)
                limit = T.meta_var(visible + (last // group) * causal)
                scores = T.sblock_alloc_buffer((rows, blocks * WIDTH), "float32")
                total = T.sblock_alloc_buffer((rows, WIDTH), "float32", scope="local")
                lanes = T.sblock_alloc_buffer((rows, WIDTH), "float32", scope="local")
                whole = T.sblock_alloc_buffer((WIDTH,), "float32", scope="local")
                part = T.sblock_alloc_buffer((WIDTH,), "float32", scope="local")
                top = T.sblock_alloc_buffer((rows,), "float32", scope="local")
                weight = T.sblock_alloc_buffer((rows,), "float32", scope="local")
                mixed = T.sblock_alloc_buffer((rows, head_dim), "float32", scope="local")
                for r in T.unroll(rows):
                    for c in T.vectorized(WIDTH):
                        lanes[r, c] = T.float32(_MASKED)
                for block in T.serial((limit + WIDTH - 1) // WIDTH):
                    for r in T.unroll(rows):
                        for c in T.vectorized(WIDTH):
                            total[r, c] = T.float32(0)
                    for i in T.serial(head_dim):
                        for r in T.unroll(rows):
                            for c in T.vectorized(WIDTH):
                                total[r, c] = total[r, c] + keys[block, i, c] * q[
                                    first + T.min(r0 + r, last) // group,
                                    head * group + T.min(r0 + r, last) % group,
                                    i,
                                ]
                    for r in T.unroll(rows):
                        for c in T.vectorized(WIDTH):
                            scores[r, block * WIDTH + c] = T.Select(
                                block * WIDTH + c < visible + (T.min(r0 + r, last) // group) * causal,
                                total[r, c] * scale,
                                T.float32(_MASKED),
                            )
                        for c in T.vectorized(WIDTH):
                            lanes[r, c] = T.max(lanes[r, c], scores[r, block * WIDTH + c])
                for r in T.unroll(rows):
                    top[r] = lanes[r, 0]
                    for c in T.serial(WIDTH):
                        top[r] = T.max(top[r], lanes[r, c])
                    for c in T.vectorized(WIDTH):
                        lanes[r, c] = T.float32(0)
                for block in T.serial((limit + WIDTH - 1) // WIDTH):
                    for r in T.unroll(rows):
                        for c in T.vectorized(WIDTH):
                            part[c] = T.max(scores[r, block * WIDTH + c] - top[r], T.float32(-126))
                        for c in T.vectorized(WIDTH):
                            whole[c] = T.floor(part[c])
                        for c in T.vectorized(WIDTH):
                            part[c] = part[c] - whole[c]
                        for c in T.vectorized(WIDTH):
                            scores[r, block * WIDTH + c] = exp2_part(part[c]) * T.reinterpret(
                                "float32", T.shift_left(T.Cast("int32", whole[c]) + 127, 23)
                            )
                        for c in T.vectorized(WIDTH):
                            lanes[r, c] = lanes[r, c] + scores[r, block * WIDTH + c]
                for r in T.unroll(rows):
                    weight[r] = T.float32(0)
                    for c in T.serial(WIDTH):
                        weight[r] = weight[r] + lanes[r, c]
                    for i in T.vectorized(head_dim):
                        mixed[r, i] = T.float32(0)
                for token in T.serial(limit):
                    for r in T.unroll(rows):
                        for i in T.vectorized(head_dim):
                            mixed[r, i] = mixed[r, i] + scores[r, token] * value_at(token, i)
                for r in T.unroll(rows):
                    if r0 + r <= last:
                        for i in T.vectorized(head_dim):
                            output[first + (r0 + r) // group, head * group + (r0 + r) % group, i] = mixed[
                                r, i
                            ] / T.max(weight[r], T.float32(1e-30))
                        lse[first + (r0 + r) // group, head * group + (r0 + r) % group] = top[r] + T.log2(
                            T.max(weight[r], T.float32(1e-30))
                        )

    return attend


def ragged_prefill(heads: int, kv_heads: int, head_dim: int, rows: int) -> Any:
    """PrimFunc: causal attention of the new tokens q [n, heads, d] among themselves, k and v [n, kv, d]."""
    attend = attend_macro(heads, kv_heads, head_dim, rows)

    @T.prim_func(s_tir=True)
    def attention_ragged(
        q_handle: T.handle,
        q_indptr_handle: T.handle,
        k_handle: T.handle,
        v_handle: T.handle,
        kv_indptr_handle: T.handle,
        q_position_handle: T.handle,
        k_offset_handle: T.handle,
        output_handle: T.handle,
        lse_handle: T.handle,
        causal: T.int32,
        rotary_mode: T.int32,
        rope_scale: T.float32,
        rope_theta: T.float32,
        sm_scale: T.float32,
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        bounds, n, m = T.int32(), T.int32(), T.int32()
        offsets = [T.int32() for _ in range(2)]
        q = T.match_buffer(q_handle, (n, heads, head_dim), "float32")
        q_indptr = T.match_buffer(q_indptr_handle, (bounds,), "int32", elem_offset=offsets[0])
        k = T.match_buffer(k_handle, (m, kv_heads, head_dim), "float32")
        v = T.match_buffer(v_handle, (m, kv_heads, head_dim), "float32")
        kv_indptr = T.match_buffer(kv_indptr_handle, (bounds,), "int32", elem_offset=offsets[1])
        output = T.match_buffer(output_handle, (n, heads, head_dim), "float32")
        lse = T.match_buffer(lse_handle, (n, heads), "float32")
        for b in T.serial(bounds - 1):
            for head in T.parallel(kv_heads):
                with T.sblock("head"):
                    start = T.meta_var(kv_indptr[b])
                    length = T.meta_var(kv_indptr[b + 1] - kv_indptr[b])
                    count = T.meta_var(q_indptr[b + 1] - q_indptr[b])
                    keys = T.sblock_alloc_buffer(((m + WIDTH - 1) // WIDTH, head_dim, WIDTH), "float32")
                    for block in T.serial((length + WIDTH - 1) // WIDTH):
                        for i in T.serial(head_dim):
                            for c in T.vectorized(WIDTH):
                                keys[block, i, c] = k[start + T.min(block * WIDTH + c, length - 1), head, i]
                    attend(
                        q,
                        q_indptr[b],
                        count,
                        head,
                        keys,
                        (m + WIDTH - 1) // WIDTH,
                        T.Select(causal > 0, length - count + 1, length),
                        T.Select(causal > 0, 1, 0),
                        _ragged_value(v, start, head),
                        sm_scale * T.float32(LOG2_E),
                        output,
                        lse,
                    )

    return attention_ragged


def _ragged_value(v: Any, start: Any, head: Any) -> Any:
    """Reader of new values, v [n, kv, d], of the sequence that begins at row `start`."""
    return lambda token, i: v[start + token, head, i]
