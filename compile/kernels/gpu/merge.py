"""The GPU kernel that merges two partial attentions, over old tokens and over new ones.

TVM's own has threads of one row read and rewrite its log-sum without a barrier: wrong where a row is wider than the
GPU's subgroup (lavapipe has 8 lanes), by up to 12 in a logit.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm.script import tirx as T


def merge(heads: int, head_dim: int) -> Any:
    """PrimFunc: v, s, v_other, s_other -> v and s rewritten; v float32 [n, heads, head_dim], s [n, heads].

    v: attention's result over part of the tokens; s: log2 of the sum of the powers of 2 it was weighted with.
    """

    @T.prim_func(s_tir=True)
    def attention_merge(v_handle: T.handle, s_handle: T.handle, v_other_handle: T.handle, s_other_handle: T.handle):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        n = T.int32()
        v = T.match_buffer(v_handle, (n, heads, head_dim), "float32")
        s = T.match_buffer(s_handle, (n, heads), "float32")
        v_other = T.match_buffer(v_other_handle, (n, heads, head_dim), "float32")
        s_other = T.match_buffer(s_other_handle, (n, heads), "float32")
        for row in T.thread_binding(n * heads, thread="blockIdx.x"):
            for lane in T.thread_binding(head_dim, thread="threadIdx.x"):
                with T.sblock("merge"):
                    T.reads()
                    T.writes()
                    top = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    ours = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    other = T.sblock_alloc_buffer((1,), "float32", scope="local")
                    i, h = T.meta_var(row // heads), T.meta_var(row % heads)
                    top[0] = T.max(s[i, h], s_other[i, h])
                    ours[0] = T.exp2(s[i, h] - top[0])
                    other[0] = T.exp2(s_other[i, h] - top[0])
                    v[i, h, lane] = (v[i, h, lane] * ours[0] + v_other[i, h, lane] * other[0]) / (ours[0] + other[0])
                    T.tvm_storage_sync("shared")
                    if lane == 0:
                        s[i, h] = T.log2(ours[0] + other[0]) + top[0]

    return attention_merge
