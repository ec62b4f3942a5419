"""The Llama decoder on TVM's nn frontend, with a paged KV cache. Imported by the build process only.

Works for one sequence a call; tokens int32 [1, s], logits float32 [1, s or 1, vocab].
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tvm
from tvm import te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from duomem.compile.kernels.swiglu import swiglu
from duomem.compile.kernels.tile import Tile
from duomem.compile.models.config import LlamaConfig
from duomem.compile.models.kv_cache import create_cpu_kv_cache
from duomem.compile.models.layers import MATRICES, Matrix, call_kernel


class Attention(nn.Module):
    """Grouped-query attention; rotary embedding happens inside the KV cache."""

    def __init__(self, config: LlamaConfig, matrix: Any) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.qkv_proj = matrix(config.qkv_size, config.hidden_size)
        self.o_proj = matrix(config.hidden_size, self.heads * self.head_dim)

    def forward(self, x: Tensor, cache: PagedKVCache, layer: int) -> Tensor:
        s = x.shape[1]
        qkv = op.reshape(self.qkv_proj(x), (1, s, self.heads + 2 * self.kv_heads, self.head_dim))
        mixed = cache.attention_with_fused_qkv(layer, qkv, self.heads, self.head_dim**-0.5)
        return self.o_proj(op.reshape(mixed, (1, s, self.heads * self.head_dim)))


class MLP(nn.Module):
    """SwiGLU feed-forward."""

    def __init__(self, config: LlamaConfig, matrix: Any) -> None:
        super().__init__()
        self.size = config.intermediate_size
        self.gate_up_proj = matrix(2 * config.intermediate_size, config.hidden_size)
        self.down_proj = matrix(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        s = x.shape[1]
        gate_up = op.reshape(self.gate_up_proj(x), (s, 2 * self.size))
        mixed = call_kernel(swiglu(self.size), "swiglu", [gate_up], (s, self.size))
        return self.down_proj(op.reshape(mixed, (1, s, self.size)))


class Block(nn.Module):
    """One pre-norm decoder layer."""

    def __init__(self, config: LlamaConfig, matrix: Any) -> None:
        super().__init__()
        self.self_attn = Attention(config, matrix)
        self.mlp = MLP(config, matrix)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, -1, config.rms_norm_eps, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, -1, config.rms_norm_eps, bias=False)

    def forward(self, x: Tensor, cache: PagedKVCache, layer: int) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cache, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, blocks and final norm."""

    def __init__(self, config: LlamaConfig, matrix: Any) -> None:
        super().__init__()
        self.embed_tokens: Matrix = matrix(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Block(config, matrix) for _ in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, -1, config.rms_norm_eps, bias=False)

    def forward(self, ids: Tensor, cache: PagedKVCache) -> Tensor:
        x = self.embed_tokens.rows(ids)
        for i, layer in enumerate(self.layers):
            x = layer(x, cache, i)
        return self.norm(x)


class Model(nn.Module):
    """The functions a library exports, over one set of parameters in MLC's names."""

    def __init__(self, config: LlamaConfig, scheme: str, tile: Tile) -> None:
        super().__init__()
        self.config, self.tile = config, tile
        matrix = partial(MATRICES[scheme], tile=tile)
        self.model = Decoder(config, matrix)
        if not config.tie_word_embeddings:
            self.lm_head: Matrix = matrix(config.vocab_size, config.hidden_size)

    def _head(self, x: Tensor) -> Tensor:
        return self.model.embed_tokens(x) if self.config.tie_word_embeddings else self.lm_head(x)

    def prefill(self, ids: Tensor, cache: PagedKVCache) -> tuple[Tensor, PagedKVCache]:
        """Append the tokens; logits after the last."""
        x = op.tensor_expr_op(_last_position, "last_position", [self.model(ids, cache)])
        return self._head(x), cache

    def prefill_all(self, ids: Tensor, cache: PagedKVCache) -> tuple[Tensor, PagedKVCache]:
        """Append the tokens; logits after each."""
        return self._head(self.model(ids, cache)), cache

    def decode(self, ids: Tensor, cache: PagedKVCache) -> tuple[Tensor, PagedKVCache]:
        """Append one token; logits after it."""
        return self._head(self.model(ids, cache)), cache

    def create_kv_cache(
        self, max_batch: tirx.Var, max_tokens: tirx.Var, chunk: tirx.Var, page_size: tirx.Var
    ) -> PagedKVCache:
        """A cache for `max_batch` sequences with `max_tokens` tokens in all."""
        return create_cpu_kv_cache(self.config, self.tile, max_batch, max_tokens, chunk, page_size)


def _last_position(x: te.Tensor) -> te.Tensor:
    _, s, d = x.shape

    def take(_batch: tirx.Var, _row: tirx.Var, i: tirx.Var) -> Any:
        return x[0, s - 1, i]

    return te.compute((1, 1, d), take, name="last_position")


def export(
    config: LlamaConfig, scheme: str, tile: Tile, target: tvm.target.Target
) -> tuple[tvm.IRModule, list[tuple[str, Any]]]:
    """The model as an IRModule, and its parameters by name, in the order every function takes them."""
    cache = nn.spec.Object(object_type=PagedKVCache)
    packed = {"param_mode": "packed", "effect_mode": "none"}
    alone = {"param_mode": "none", "effect_mode": "none"}
    spec: dict[str, Any] = {
        "prefill": {"ids": nn.spec.Tensor([1, "n"], "int32"), "cache": cache, "$": packed},
        "prefill_all": {"ids": nn.spec.Tensor([1, "n"], "int32"), "cache": cache, "$": packed},
        "decode": {"ids": nn.spec.Tensor([1, 1], "int32"), "cache": cache, "$": packed},
        "create_kv_cache": {
            name: int for name in ("max_batch", "max_tokens", "chunk", "page_size")
        }
        | {"$": alone},
    }
    with target:
        module, params, _ = Model(config, scheme, tile).export_tvm(spec, allow_extern=True)
    return module, params
