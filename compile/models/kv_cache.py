"""The paged KV cache of a CPU library: TVM's cache object over duomem's kernels.

Page bookkeeping, fork and rollback are TVM's C++; only what it calls to compute and to move data is ours.
"""

from __future__ import annotations

from tvm import tirx
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode

from duomem.compile.kernels import attention, kv_pages, paged_attention, ragged_attention, rope
from duomem.compile.kernels.tile import Cpu
from duomem.compile.models.config import DecoderConfig
from duomem.compile.models.exports import CacheKernels, paged_kv_cache


def create_cpu_kv_cache(config: DecoderConfig, cpu: Cpu, dtype: str, sizes: list[tirx.Var]) -> PagedKVCache:
    """See `paged_kv_cache`. Queries, keys and values come in rotated, and windows are masks, see models.attention."""
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    shape = attention.Shape(heads, kv_heads, dim, config.attention_softcap, cpu, dtype)
    kernels = CacheKernels(
        append=kv_pages.append(kv_heads, dim, dtype),
        ragged_prefill=ragged_attention.ragged_prefill(shape),
        paged_prefill=paged_attention.paged_prefill(shape),
        paged_decode=paged_attention.paged_decode(shape),
        merge=kv_pages.merge(heads, dim, dtype),
        rope_split=rope.split(heads, kv_heads, dim, dtype),
        copy_page=kv_pages.copy_page(kv_heads, dim, dtype),
        read=kv_pages.read(config.num_hidden_layers, kv_heads, dim, dtype),
        compact=kv_pages.compact(kv_heads, dim, dtype),
    )
    return paged_kv_cache(config, sizes, RopeMode.NONE, kernels, dtype)
