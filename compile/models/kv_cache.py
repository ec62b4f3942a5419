"""The paged KV cache of a CPU library: TVM's cache object over duomem's attention kernels.

Page bookkeeping, fork and rollback are TVM's C++; only what it calls to compute is chosen here.
"""

from __future__ import annotations

import tvm
from tvm import relax, tirx
from tvm.relax.frontend.nn.llm import kv_cache as tvm_cache
from tvm.relax.frontend.nn.llm.kv_cache import AttnKind, PagedKVCache, RopeMode

from duomem.compile.kernels import attention, paged_attention, rope
from duomem.compile.kernels.tile import Tile
from duomem.compile.models.config import LlamaConfig

_NO_SLIDING = 0
_UNUSED_WINDOW = 1024
"""Window of layers with sliding attention, of which there are none; TVM asks for a positive number."""


def create_cpu_kv_cache(
    config: LlamaConfig,
    tile: Tile,
    max_batch: tirx.Var,
    max_tokens: tirx.Var,
    chunk: tirx.Var,
    page_size: tirx.Var,
) -> PagedKVCache:
    """A float32 cache for `max_batch` sequences of `max_tokens` tokens in all, attention over chains only.

    The kernels TVM would call for sliding windows, token trees and MLA are left out: none of it is used.
    """
    builder = relax.BlockBuilder.current()
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    sizes = (heads, kv_heads, dim, tile.attention_rows)

    def kernel(function: tirx.PrimFunc, name: str) -> relax.Tuple:
        return relax.Tuple([tvm.ir.StringImm("tirx"), builder.add_func(function, name)])

    absent = relax.Tuple([])
    args = [
        relax.ShapeExpr([max_batch, max_tokens, chunk, page_size, _NO_SLIDING, _UNUSED_WINDOW]),
        relax.ShapeExpr([0, config.num_hidden_layers]),
        *(relax.prim_value(n) for n in (heads, kv_heads, dim, dim)),
        relax.ShapeExpr([int(AttnKind.MHA)] * config.num_hidden_layers),
        relax.prim_value(False),
        relax.prim_value(RopeMode.NORMAL),
        relax.prim_value(1),
        relax.prim_value(config.rope_theta),
        relax.prim_value(0),
        relax.op.zeros((), "float32"),
        builder.add_func(tvm_cache._kv_cache_transpose_append(kv_heads, dim, "float32"), "kv_append"),
        builder.add_func(tvm_cache._kv_cache_transpose_append_mla(dim, "float32"), "kv_append_mla"),
        kernel(attention.ragged_prefill(*sizes), "attention_ragged"),
        kernel(paged_attention.paged_prefill(*sizes), "attention_paged"),
        kernel(paged_attention.paged_decode(*sizes), "attention_decode"),
        *[absent] * 5,
        relax.Tuple([builder.add_func(tvm_cache._merge_state_inplace_cpu("float32"), "attention_merge")]),
        builder.add_func(
            rope.split_rotary(heads, kv_heads, dim, config.rope_theta, config.rope_scaling), "rope_split"
        ),
        builder.add_func(
            tvm_cache._copy_single_page_cpu(kv_heads, attention.PAGE, dim, "float32"), "kv_copy_page"
        ),
        builder.add_func(
            tvm_cache._kv_cache_debug_get_kv(config.num_hidden_layers, kv_heads, dim, "float32"), "kv_debug"
        ),
        builder.add_func(tvm_cache._compact_kv_copy_cpu(kv_heads, dim, "float32"), "kv_compact"),
    ]
    call = relax.call_pure_packed(
        "vm.builtin.paged_attention_kv_cache_create", *args, ty_args=relax.AnyType()
    )
    return PagedKVCache(_expr=call, _name="paged_kv_cache")
