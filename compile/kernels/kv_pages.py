"""CPU kernels in TIR that move keys and values in and out of the KV cache's pages, and merge attention states.

A page is [2, kv, PAGE, d] to TVM. Its values lie so; its keys lie transposed, [d, PAGE] a head, which only these
kernels and those of attention know. dtype: of keys, values and attention, see attention.Shape.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T

from duomem.compile.kernels.attention import PAGE, power_of_two


def append(kv_heads: int, head_dim: int, dtype: str) -> Any:
    """PrimFunc: pages, keys and values [n, kv, d], slots int32 [n] -> token t is in slot slots[t] of the pages.

    Slot s is token s % PAGE of page s // PAGE. TVM's -1, "nowhere", comes with evicting windows only.
    """

    @T.prim_func(s_tir=True)
    def kv_append(pages_handle: T.handle, k_handle: T.handle, v_handle: T.handle, slot_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n, pool, offset = T.int32(), T.int32(), T.int32()
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), dtype)
        k = T.match_buffer(k_handle, (n, kv_heads, head_dim), dtype)
        v = T.match_buffer(v_handle, (n, kv_heads, head_dim), dtype)
        slot = T.match_buffer(slot_handle, (n,), "int32", elem_offset=offset)
        keys = T.decl_buffer((pool, 2, kv_heads, head_dim, PAGE), dtype, data=pages.data)
        for token in T.serial(n):
            for head in T.serial(kv_heads):
                with T.sblock("append"):
                    for i in T.serial(head_dim):
                        keys[slot[token] // PAGE, 0, head, i, slot[token] % PAGE] = k[token, head, i]
                    for i in T.vectorized(head_dim):
                        pages[slot[token] // PAGE, 1, head, slot[token] % PAGE, i] = v[token, head, i]

    return kv_append


def copy_page(kv_heads: int, head_dim: int, dtype: str) -> Any:
    """PrimFunc: page `target` becomes page `source`, all of it: what lies behind `length` is not looked at."""

    @T.prim_func(s_tir=True)
    def kv_copy_page(pages_handle: T.handle, source: T.int64, target: T.int64, length: T.int64):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        pool = T.int32()
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), dtype)
        for part in T.serial(2):
            for head in T.serial(kv_heads):
                for token in T.serial(PAGE):
                    with T.sblock("copy"):
                        for i in T.vectorized(head_dim):
                            pages[target, part, head, token, i] = pages[source, part, head, token, i]

    return kv_copy_page


def compact(kv_heads: int, head_dim: int, dtype: str) -> Any:
    """PrimFunc: move tokens between slots, moves [2, m] from and to, those of sequence b from starts[b] on.

    TVM asks for it when it takes tokens of a tree, which duomem does not use, but insists on having it.
    """

    @T.prim_func(s_tir=True)
    def kv_compact(pages_handle: T.handle, start_handle: T.handle, move_handle: T.handle, batch: T.int32):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        pool, m = T.int32(), T.int32()
        offsets = [T.int32() for _ in range(2)]
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), dtype)
        starts = T.match_buffer(start_handle, (batch + 1,), "int32", elem_offset=offsets[0])
        moves = T.match_buffer(move_handle, (2, m), "int32", elem_offset=offsets[1])
        keys = T.decl_buffer((pool, 2, kv_heads, head_dim, PAGE), dtype, data=pages.data)
        for move in T.serial(starts[batch]):
            for head in T.serial(kv_heads):
                for i in T.serial(head_dim):
                    with T.sblock("move"):
                        keys[moves[1, move] // PAGE, 0, head, i, moves[1, move] % PAGE] = keys[
                            moves[0, move] // PAGE, 0, head, i, moves[0, move] % PAGE
                        ]
                        pages[moves[1, move] // PAGE, 1, head, moves[1, move] % PAGE, i] = pages[
                            moves[0, move] // PAGE, 1, head, moves[0, move] % PAGE, i
                        ]

    return kv_compact


def read(layers: int, kv_heads: int, head_dim: int, dtype: str) -> Any:
    """PrimFunc: keys and values [layers, n, kv, d] of one layer from the slots int32 [n] (TVM's debug_get_kv)."""

    @T.prim_func(s_tir=True)
    def kv_read(pages_handle: T.handle, slot_handle: T.handle, k_handle: T.handle, v_handle: T.handle, layer: T.int64):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        pool, n, offset = T.int32(), T.int32(), T.int32()
        pages = T.match_buffer(pages_handle, (pool, 2, kv_heads, PAGE, head_dim), dtype)
        slot = T.match_buffer(slot_handle, (n,), "int32", elem_offset=offset)
        k = T.match_buffer(k_handle, (layers, n, kv_heads, head_dim), dtype)
        v = T.match_buffer(v_handle, (layers, n, kv_heads, head_dim), dtype)
        keys = T.decl_buffer((pool, 2, kv_heads, head_dim, PAGE), dtype, data=pages.data)
        for token in T.serial(n):
            for head in T.serial(kv_heads):
                for i in T.serial(head_dim):
                    with T.sblock("read"):
                        k[layer, token, head, i] = keys[slot[token] // PAGE, 0, head, i, slot[token] % PAGE]
                        v[layer, token, head, i] = pages[slot[token] // PAGE, 1, head, slot[token] % PAGE, i]

    return kv_read


def merge(heads: int, head_dim: int, dtype: str) -> Any:
    """PrimFunc: attention over two sets of tokens into that over both, in place of the first.

    Outputs x, y [n, heads, d] and their lse in base 2, [n, heads].
    """

    @T.prim_func(s_tir=True)
    def attention_merge(x_handle: T.handle, x_lse_handle: T.handle, y_handle: T.handle, y_lse_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n = T.int32()
        x = T.match_buffer(x_handle, (n, heads, head_dim), dtype)
        x_lse = T.match_buffer(x_lse_handle, (n, heads), "float32")
        y = T.match_buffer(y_handle, (n, heads, head_dim), dtype)
        y_lse = T.match_buffer(y_lse_handle, (n, heads), "float32")
        for token in T.parallel(n):
            for head in T.serial(heads):
                with T.sblock("merge"):
                    share = T.sblock_alloc_buffer((3,), "float32")
                    share[2] = T.max(x_lse[token, head], y_lse[token, head])
                    share[0] = power_of_two(x_lse[token, head] - share[2])
                    share[1] = power_of_two(y_lse[token, head] - share[2])
                    x_lse[token, head] = share[2] + T.log2(share[0] + share[1])
                    share[2] = T.float32(1) / (share[0] + share[1])
                    share[0] = share[0] * share[2]
                    share[1] = share[1] * share[2]
                    for i in T.vectorized(head_dim):
                        x[token, head, i] = T.Cast(
                            dtype,
                            T.Cast("float32", x[token, head, i]) * share[0]
                            + T.Cast("float32", y[token, head, i]) * share[1],
                        )

    return attention_merge
