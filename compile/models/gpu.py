"""A Llama decoder for GPUs on TVM's nn frontend, with a paged KV cache. Imported by the build process only.

float32 throughout over 4-bit matrices; 9 dispatches a layer and token (10 with norms of heads), fused by hand where
TVM's passes do not.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm import kv_cache as tvm_kernels
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache, RopeMode
from tvm.s_tir import dlight

from duomem.compile.kernels.attention import PAGE
from duomem.compile.kernels.gpu import int4, rope
from duomem.compile.kernels.gpu.merge import merge
from duomem.compile.kernels.rope import frequencies
from duomem.compile.models.attention import HeadNorm
from duomem.compile.models.config import DecoderConfig
from duomem.compile.models.exports import CacheKernels, LibraryModel, paged_kv_cache
from duomem.compile.models.layers import call_expression, call_kernel
from duomem.device.engine.schemes import GROUP


class GpuMatrix(nn.Module):
    """A 4-bit matrix [n, k] in the layout of kernels.gpu.int4: parameters q_weight and q_scale.

    bias: of a projection that has one; what owns the projection adds it.
    """

    bias: nn.Parameter

    def __init__(self, n: int, k: int) -> None:
        super().__init__()
        self.n, self.k = n, k
        self.q_weight = nn.Parameter((k // int4.PER_WORD, n), "uint32")
        self.q_scale = nn.Parameter((k // GROUP, n), "float32")

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """float32 x [1, s, k] -> x @ W.T (+ residual), float32 [1, s, n]."""
        make = int4.matvec if _is_one(x) else int4.matmul
        args = [x, self.q_weight, self.q_scale, *([residual] if residual is not None else [])]
        name = f"{make.__name__}_{self.n}_{self.k}"
        return call_kernel(make(self.n, self.k, residual is not None), name, args, (1, x.shape[1], self.n))

    def gated(self, x: Tensor) -> Tensor:
        """float32 x [1, s, k] -> silu(gate) * other [1, s, n / 2], from the two halves of x @ W.T."""
        n = self.n // 2
        if _is_one(x):
            args = [x, self.q_weight, self.q_scale]
            return call_kernel(int4.matvec(n, self.k, gated=True), f"gated_{n}_{self.k}", args, (1, 1, n))
        return call_expression(_swiglu, "swiglu", [self(x)])

    def rows(self, ids: Tensor) -> Tensor:
        """int32 ids [1, s] -> the rows they name, float32 [1, s, k]."""

        def embedding(ids: Any, words: Any, scales: Any) -> Any:
            def take(_batch: Any, i: Any, j: Any) -> Any:
                row = ids[0, i]
                shift = tirx.Cast("uint32", j % int4.PER_WORD * 4)
                code = tirx.bitwise_and(words[j // int4.PER_WORD, row] >> shift, tirx.const(15, "uint32"))
                return (tirx.Cast("float32", code) - 7.0) * scales[j // GROUP, row]

            return te.compute((1, ids.shape[1], self.k), take, name="embedding")

        return call_expression(embedding, "embedding", [ids, self.q_weight, self.q_scale])


class GpuAttention(nn.Module):
    """Attention of one layer, without what is added to it."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.qkv_proj = GpuMatrix(config.qkv_size, config.hidden_size)
        if config.qkv_bias:
            self.qkv_proj.bias = nn.Parameter((config.qkv_size,), "float32")
        if config.qk_norm:
            self.q_norm, self.k_norm = HeadNorm(config.head_dim), HeadNorm(config.head_dim)
        self.o_proj = GpuMatrix(config.hidden_size, config.q_size)

    def forward(self, x: Tensor, stream: Tensor, cache: PagedKVCache) -> Tensor:
        """float32 x, stream [1, s, hidden] -> stream + attention of x; the tokens are appended to the cache."""
        config, s = self.config, x.shape[1]
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        shape = (1, s, heads + 2 * kv_heads, config.head_dim)
        qkv = op.reshape(self._projected(x), shape)
        if config.qk_norm:
            kernel = rope.head_norm(heads, kv_heads, config.head_dim, config.rms_norm_eps)
            qkv = call_kernel(kernel, "head_norm", [qkv, self.q_norm.weight, self.k_norm.weight], shape)
        mixed = cache.attention_with_fused_qkv(self.layer, qkv, heads, config.attention_scale)
        return self.o_proj(op.reshape(mixed, (1, s, config.q_size)), stream)

    def _projected(self, x: Tensor) -> Tensor:
        if not self.config.qkv_bias:
            return self.qkv_proj(x)
        bias = op.reshape(self.qkv_proj.bias, (1, 1, self.config.qkv_size))
        return self.qkv_proj(x, bias) if _is_one(x) else op.add(self.qkv_proj(x), bias)


class GpuMLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_up_proj = GpuMatrix(2 * config.intermediate_size, config.hidden_size)
        self.down_proj = GpuMatrix(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, stream: Tensor) -> Tensor:
        """float32 x, stream [1, s, hidden] -> stream + feed-forward of x."""
        return self.down_proj(self.gate_up_proj.gated(x), stream)


class GpuBlock(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = GpuAttention(config, layer)
        self.mlp = GpuMLP(config)
        self.input_layernorm = _norm(config)
        self.post_attention_layernorm = _norm(config)

    def forward(self, stream: Tensor, cache: PagedKVCache) -> Tensor:
        """float32 [1, s, hidden] -> like it."""
        stream = self.self_attn(self.input_layernorm(stream), stream, cache)
        return self.mlp(self.post_attention_layernorm(stream), stream)


class GpuDecoder(nn.Module):
    """Embedding, blocks and final norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = GpuMatrix(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([GpuBlock(config, i) for i in range(config.num_hidden_layers)])
        self.norm = _norm(config)

    def forward(self, ids: Tensor, cache: PagedKVCache) -> Tensor:
        """int32 ids [1, s] -> the residual stream behind the last layer, float32 [1, s, hidden]."""
        stream = self.embed_tokens.rows(ids)
        for layer in self.layers:
            stream = layer(stream, cache)
        return stream


class GpuModel(LibraryModel):
    """A library's functions over GPU kernels, parameters named as in models.decoder.Model."""

    def __init__(self, config: DecoderConfig, target: tvm.target.Target) -> None:
        super().__init__()
        self.config, self.target = config, target
        self.model = GpuDecoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = GpuMatrix(config.vocab_size, config.hidden_size)

    def _head(self, stream: Tensor) -> Tensor:
        x = self.model.norm(stream)
        return self.model.embed_tokens(x) if self.config.tie_word_embeddings else self.lm_head(x)

    def _cache(self, sizes: list[tirx.Var]) -> PagedKVCache:
        return _create_kv_cache(self.config, self.target, sizes)


def export(config: DecoderConfig, target: tvm.target.Target) -> tuple[tvm.IRModule, list[tuple[str, Any]]]:
    """See `LibraryModel.export_library`."""
    return GpuModel(config, target).export_library(target)


def schedule() -> tvm.transform.Pass:
    """Schedules of the kernels that are not scheduled by hand.

    dlight's RMSNorm rule makes vectors wider than WGSL's four lanes; GeneralReduction does for norms.
    """
    gpu = dlight.gpu
    schedules: Any = dlight.ApplyDefaultSchedule(gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback())
    return schedules


def _create_kv_cache(config: DecoderConfig, target: tvm.target.Target, sizes: list[tirx.Var]) -> PagedKVCache:
    """A float32 cache over TVM's GPU kernels, but for the merge and the rotation, which are ours (see kernels.gpu)."""
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    dtype, fitting = "float32", _fitting(target)
    kernels = CacheKernels(
        append=tvm_kernels._kv_cache_transpose_append(kv_heads, dim, dtype),
        ragged_prefill=tvm_kernels._attention_prefill_ragged(kv_heads, heads, dim, dim, dtype, {}, fitting),
        paged_prefill=tvm_kernels._attention_prefill(kv_heads, heads, dim, dtype, False, {}, fitting),
        paged_decode=tvm_kernels._attention_decode(kv_heads, heads, dim, dtype, False, {}, target),
        merge=merge(heads, dim),
        rope_split=rope.split(heads, kv_heads, dim, frequencies(dim, *config.rope(0))),
        copy_page=tvm_kernels._copy_single_page(kv_heads, PAGE, dim, dtype, target),
        read=tvm_kernels._kv_cache_debug_get_kv(config.num_hidden_layers, kv_heads, dim, dtype),
        compact=tvm_kernels._compact_kv_copy(kv_heads, dim, dtype, target),
    )
    return paged_kv_cache(config, sizes, RopeMode.NORMAL, kernels, dtype)


def _fitting(target: tvm.target.Target) -> tvm.target.Target:
    """What to ask TVM's prefill kernels for: it fits their tiles to workgroup memory for Metal alone.

    For WGSL they have to fit 16 KB, all that WebGPU's default limits give, so it is asked as if for such a Metal.
    """
    described: Any = target
    if described.kind.name != "webgpu":
        return target
    threads = int(described.attrs["max_num_threads"])
    return tvm.target.Target(
        {"kind": "metal", "max_shared_memory_per_block": 16384, "max_num_threads": threads, "thread_warp_size": 32}
    )


def _norm(config: DecoderConfig) -> nn.RMSNorm:
    return nn.RMSNorm(config.hidden_size, -1, config.rms_norm_eps, bias=False)


def _is_one(x: Tensor) -> bool:
    return isinstance(x.shape[1], int) and x.shape[1] == 1


def _swiglu(x: Any) -> Any:
    _, s, d = x.shape

    def silu_times(_batch: Any, i: Any, j: Any) -> Any:
        gate = x[0, i, j]
        return gate / (1 + tirx.exp(-gate)) * x[0, i, j + d // 2]

    return te.compute((1, s, d // 2), silu_times, name="swiglu")
