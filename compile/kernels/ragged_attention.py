"""CPU attention kernel in TIR of new tokens among themselves. See attention.py for the computation."""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.attention import PAGE, Shape, tile_macro, window_of


def ragged_prefill(shape: Shape) -> Any:
    """PrimFunc: causal attention of the new tokens q [n, heads, d] among themselves, k and v [n, kv, d].

    TVM calls it with one row of k and v for each of q, and `causal` always on.
    """
    heads, kv_heads, head_dim, group, rows = shape.heads, shape.kv_heads, shape.head_dim, shape.group, shape.rows
    tile = tile_macro(shape)

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
        bounds, n, offset = T.int32(), T.int32(), T.int32()
        q = T.match_buffer(q_handle, (n, heads, head_dim), shape.dtype)
        q_indptr = T.match_buffer(q_indptr_handle, (bounds,), "int32", elem_offset=offset)
        k = T.match_buffer(k_handle, (n, kv_heads, head_dim), shape.dtype)
        v = T.match_buffer(v_handle, (n, kv_heads, head_dim), shape.dtype)
        output = T.match_buffer(output_handle, (n, heads, head_dim), shape.dtype)
        lse = T.match_buffer(lse_handle, (n, heads), "float32")
        for b in T.serial(bounds - 1):
            with T.sblock("sequence"):
                T.reads()
                T.writes()
                first = T.meta_var(q_indptr[b])
                count = T.meta_var(q_indptr[b + 1] - q_indptr[b])
                pages = T.meta_var((count + PAGE - 1) // PAGE)
                tiles = T.meta_var((count * group + rows - 1) // rows)
                keys = T.sblock_alloc_buffer((kv_heads, (n + PAGE - 1) // PAGE, head_dim, PAGE), "float32")
                for task in T.parallel(kv_heads * pages):
                    for i in T.serial(head_dim):
                        for c in T.vectorized(PAGE):
                            keys[task // pages, task % pages, i, c] = T.Cast(
                                "float32", k[first + T.min(task % pages * PAGE + c, count - 1), task // pages, i]
                            )
                for task in T.parallel(kv_heads * tiles):
                    tile(
                        q,
                        first,
                        count,
                        task // tiles,
                        inwards(task % tiles, tiles),
                        1,
                        1,
                        0,
                        window_of(sm_scale),
                        _identity,
                        _ragged_key(keys, task // tiles),
                        _ragged_value(v, first, task // tiles),
                        output,
                        lse,
                    )

    return attention_ragged


def inwards(i: Any, n: Any) -> Any:
    """The i-th of 0, n - 1, 1, n - 2...: equal runs of it hold as much work, though later tiles see more."""
    return T.Select(i % 2 == 0, i // 2, n - 1 - i // 2)


def _identity(page: Any) -> Any:
    return page


def _ragged_key(keys: Any, head: Any) -> Any:
    return lambda place, i, token: keys[head, place, i, token]


def _ragged_value(v: Any, first: Any, head: Any) -> Any:
    return lambda place, token, i: v[first + place * PAGE + token, head, i]
