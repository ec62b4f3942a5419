"""The CPU kernel that splits fused queries, keys and values and rotates them, for TVM's paged KV cache.

TVM's own computes power, sine and cosine anew for every head; here once a token and frequency.
"""

# No postponed annotations here: TVMScript evaluates them while it parses.
from typing import Any

from tvm import tirx
from tvm.relax.frontend.nn.llm.position_embedding import switch_rope_freq_func
from tvm.script import tirx as T


def split_rotary(heads: int, kv_heads: int, head_dim: int, theta: float, scaling: dict[str, Any]) -> Any:
    """PrimFunc: qkv [n, heads + 2 kv, d] -> q [n, heads, d], k and v [n, kv, d], q and k rotated.

    Rotation pairs element i with i + d/2, as transformers does. `apply_rope` is always 1: the cache is
    created in rotary mode "normal".
    """
    half = head_dim // 2

    def angle(position: Any, i: Any) -> tuple[Any, Any]:
        """(cos, sin) of frequency i at `position`."""
        cos, sin, variables = switch_rope_freq_func(scaling)(
            T.Cast("float32", position), i, head_dim, theta, "float32"
        )
        for variable, value in variables.items():
            cos, sin = tirx.Let(variable, value, cos), tirx.Let(variable, value, sin)
        return cos, sin

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
        qkv = T.match_buffer(qkv_handle, (n, heads + 2 * kv_heads, head_dim), "float32")
        position = T.match_buffer(position_handle, (n,), "int32", elem_offset=offset)
        q = T.match_buffer(q_handle, (n, heads, head_dim), "float32")
        k = T.match_buffer(k_handle, (n, kv_heads, head_dim), "float32")
        v = T.match_buffer(v_handle, (n, kv_heads, head_dim), "float32")
        for token in T.serial(n):
            with T.sblock("token"):
                cos = T.sblock_alloc_buffer((half,), "float32")
                sin = T.sblock_alloc_buffer((half,), "float32")
                for i in T.serial(half):
                    cos[i] = angle(position[token], i)[0]
                    sin[i] = angle(position[token], i)[1]
                for h in T.serial(heads):
                    for i in T.vectorized(half):
                        q[token, h, i] = qkv[token, h, i] * cos[i] - qkv[token, h, half + i] * sin[i]
                    for i in T.vectorized(half):
                        q[token, h, half + i] = qkv[token, h, half + i] * cos[i] + qkv[token, h, i] * sin[i]
                for h in T.serial(kv_heads):
                    for i in T.vectorized(half):
                        k[token, h, i] = (
                            qkv[token, heads + h, i] * cos[i] - qkv[token, heads + h, half + i] * sin[i]
                        )
                    for i in T.vectorized(half):
                        k[token, h, half + i] = (
                            qkv[token, heads + h, half + i] * cos[i] + qkv[token, heads + h, i] * sin[i]
                        )
                    for i in T.vectorized(head_dim):
                        v[token, h, i] = qkv[token, heads + kv_heads + h, i]

    return rope_split
