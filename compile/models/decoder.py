"""A decoder of any family on TVM's nn frontend, with a paged KV cache. Imported by the build process only.

Works for one sequence a call; tokens int32 [1, s], logits float32 [1, s or 1, vocab].
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache

from duomem.compile.kernels.matmul import attention_dtype
from duomem.compile.kernels.softcap import softcap
from duomem.compile.kernels.storage import STORAGES
from duomem.compile.kernels.swiglu import swiglu
from duomem.compile.kernels.tile import Cpu
from duomem.compile.models.attention import Attention, Rotations
from duomem.compile.models.config import DecoderConfig
from duomem.compile.models.exports import LibraryModel
from duomem.compile.models.kv_cache import create_cpu_kv_cache
from duomem.compile.models.layers import Matrix, call_kernel, matrix_maker
from duomem.compile.models.norm import RMSNorm
from duomem.device.engine.schemes import SCHEMES


class MLP(nn.Module):
    """Gated feed-forward: SwiGLU or GeGLU."""

    def __init__(self, config: DecoderConfig, matrix: Any) -> None:
        super().__init__()
        self.size, self.activation = config.intermediate_size, config.activation
        self.gate_up_proj = matrix(2 * config.intermediate_size, config.hidden_size)
        self.down_proj = matrix(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        s = x.shape[1]
        kernel = swiglu(self.size, self.activation)
        return self.down_proj(call_kernel(kernel, "swiglu", [self.gate_up_proj(x)], (1, s, self.size)))


class Block(nn.Module):
    """One pre-norm decoder layer, with `config.sandwich_norms` also norms after attention and feed-forward.

    What a layer adds to the residual stream is passed on beside it: the next norm adds and normalizes in one
    pass.
    """

    def __init__(self, config: DecoderConfig, matrix: Any, layer: int, dtype: str) -> None:
        super().__init__()
        self.sandwich = config.sandwich_norms
        self.self_attn = Attention(config, matrix, layer, dtype)
        self.mlp = MLP(config, matrix)
        self.input_layernorm = _norm(config)
        self.post_attention_layernorm = _norm(config)
        if self.sandwich:
            self.pre_feedforward_layernorm = _norm(config)
            self.post_feedforward_layernorm = _norm(config)

    def forward(
        self, stream: Tensor, added: Tensor | None, rotations: Rotations, cache: PagedKVCache
    ) -> tuple[Tensor, Tensor]:
        """(stream, what is still to be added to it) -> the same after this layer, float32 [1, s, hidden]."""
        if added is None:
            x = self.input_layernorm(stream)
        else:
            x, stream = self.input_layernorm.add(added, stream)
        mixed = self.self_attn(x, rotations, cache)
        if not self.sandwich:
            x, stream = self.post_attention_layernorm.add(mixed, stream)
            return stream, self.mlp(x)
        x, stream = self.pre_feedforward_layernorm.add(self.post_attention_layernorm(mixed), stream)
        return stream, self.post_feedforward_layernorm(self.mlp(x))


class Decoder(nn.Module):
    """Embedding, blocks and final norm. dtype: of attention and its cache."""

    def __init__(self, config: DecoderConfig, matrix: Any, dtype: str) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens: Matrix = matrix(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Block(config, matrix, i, dtype) for i in range(config.num_hidden_layers)])
        self.norm = _norm(config)

    def forward(self, ids: Tensor, cache: PagedKVCache) -> Tensor:
        """int32 ids [1, s] -> what the head multiplies, float32 [1, s, hidden]."""
        stream = self.embed_tokens.rows(ids)
        if self.config.embedding_scale != 1:
            stream = stream * self.config.embedding_scale
        rotations = Rotations(self.config, cache, ids.shape[1])
        added: Any = None
        for layer in self.layers:
            stream, added = layer(stream, added, rotations, cache)
        return self.norm.add(added, stream)[0]


class Model(LibraryModel):
    """A library's functions over CPU kernels."""

    def __init__(self, config: DecoderConfig, scheme: str, cpu: Cpu, activations: str) -> None:
        super().__init__()
        self.config, self.cpu = config, cpu
        self.dtype = attention_dtype(STORAGES[SCHEMES[scheme].storage], cpu, activations)
        matrix = matrix_maker(scheme, cpu, activations)
        self.model = Decoder(config, matrix, self.dtype)
        if not config.tie_word_embeddings:
            self.lm_head: Matrix = matrix(config.vocab_size, config.hidden_size)

    def _head(self, x: Tensor) -> Tensor:
        logits = self.model.embed_tokens(x) if self.config.tie_word_embeddings else self.lm_head(x)
        cap, size = self.config.final_softcap, self.config.vocab_size
        if not cap:
            return logits
        rows = logits.shape[1]
        flat = op.reshape(logits, (rows, size))
        return op.reshape(call_kernel(softcap(size, cap), "softcap", [flat], (rows, size)), (1, rows, size))

    def _cache(self, sizes: list[tirx.Var]) -> PagedKVCache:
        return create_cpu_kv_cache(self.config, self.cpu, self.dtype, sizes)


def _norm(config: DecoderConfig) -> RMSNorm:
    return RMSNorm(config.hidden_size, config.rms_norm_eps)


def export(
    config: DecoderConfig, scheme: str, cpu: Cpu, activations: str, target: tvm.target.Target
) -> tuple[tvm.IRModule, list[tuple[str, Any]]]:
    """See `LibraryModel.export_library`."""
    return Model(config, scheme, cpu, activations).export_library(target)
