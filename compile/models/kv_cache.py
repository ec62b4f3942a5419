"""The paged KV cache of a CPU library: TVM's cache object over duomem's kernels.

Page bookkeeping, fork and rollback are TVM's C++; only what it calls to compute and to move data is ours.
"""

from __future__ import annotations

import tvm
from tvm import relax, tirx
from tvm.relax.frontend.nn.llm.kv_cache import AttnKind, PagedKVCache, RopeMode

from duomem.compile.kernels import attention, kv_pages, paged_attention, rope
from duomem.compile.kernels.tile import Cpu
from duomem.compile.models.config import DecoderConfig

_NO_SLIDING = 0
_UNUSED_WINDOW = 1024
"""Window of layers with sliding attention, of which there are none; TVM asks for a positive number."""


def create_cpu_kv_cache(
    config: DecoderConfig,
    cpu: Cpu,
    max_batch: tirx.Var,
    max_tokens: tirx.Var,
    chunk: tirx.Var,
    page_size: tirx.Var,
) -> PagedKVCache:
    """A float32 cache for `max_batch` sequences of `max_tokens` tokens in all, attention over chains only.

    Queries, keys and values come in rotated, and windows are masks, see models.attention. The kernels TVM would
    call for windows that evict, token trees and MLA are left out: none of it is used.
    """
    builder = relax.BlockBuilder.current()
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    shape = attention.Shape(heads, kv_heads, dim, config.attention_softcap, cpu)

    def kernel(function: tirx.PrimFunc, name: str) -> relax.Tuple:
        return relax.Tuple([tvm.ir.StringImm("tirx"), builder.add_func(function, name)])

    absent = relax.Tuple([])
    args = [
        relax.ShapeExpr([max_batch, max_tokens, chunk, page_size, _NO_SLIDING, _UNUSED_WINDOW]),
        relax.ShapeExpr([0, config.num_hidden_layers]),
        *(relax.prim_value(n) for n in (heads, kv_heads, dim, dim)),
        relax.ShapeExpr([int(AttnKind.MHA)] * config.num_hidden_layers),
        relax.prim_value(False),
        relax.prim_value(RopeMode.NONE),
        relax.prim_value(1),
        relax.prim_value(config.rope_theta),
        relax.prim_value(0),
        relax.op.zeros((), "float32"),
        builder.add_func(kv_pages.append(kv_heads, dim), "kv_append"),
        relax.prim_value(0),
        kernel(attention.ragged_prefill(shape), "attention_ragged"),
        kernel(paged_attention.paged_prefill(shape), "attention_paged"),
        kernel(paged_attention.paged_decode(shape), "attention_decode"),
        *[absent] * 5,
        relax.Tuple([builder.add_func(kv_pages.merge(heads, dim), "attention_merge")]),
        builder.add_func(rope.split(heads, kv_heads, dim), "rope_split"),
        builder.add_func(kv_pages.copy_page(kv_heads, dim), "kv_copy_page"),
        builder.add_func(kv_pages.read(config.num_hidden_layers, kv_heads, dim), "kv_read"),
        builder.add_func(kv_pages.compact(kv_heads, dim), "kv_compact"),
    ]
    call = relax.call_pure_packed("vm.builtin.paged_attention_kv_cache_create", *args, ty_args=relax.AnyType())
    return PagedKVCache(_expr=call, _name="paged_kv_cache")
