"""Grouped-query attention of every family over the paged KV cache. Imported by the build process only.

The cache's C++ knows sliding windows as evicted pages only, and has no windowed kernel for new tokens among
themselves; both break fork and rollback or are wrong for chunks longer than the window. So every layer is
plain attention to it, and windows are masks of our kernels over the full cache. A layer's window reaches them
in the one number the cache hands on unchanged, `sm_scale`; the scale itself is in the queries by then.
"""

from __future__ import annotations

from typing import Any

from tvm import relax
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import PagedKVCache
from tvm.script import tirx as T

from duomem.compile.kernels import rope
from duomem.compile.kernels.attention import score_factor
from duomem.compile.models.config import DecoderConfig
from duomem.compile.models.layers import call_kernel


class Rotations:
    """The rotary angles of one forward pass, computed once for all layers that share a base and scaling."""

    def __init__(self, config: DecoderConfig, cache: PagedKVCache, tokens: Any) -> None:
        """`tokens`: how many the pass appends to the cache, an int or a TIR variable."""
        self._config = config
        self._positions = cache.get_query_positions(tokens)
        self._tokens = tokens
        self._angles: dict[str, Tensor] = {}

    def of(self, layer: int) -> Tensor:
        """float32 [tokens, head_dim]: cosines, then sines, for the layer's base and scaling."""
        theta, scaling = self._config.rope(layer)
        key = repr((theta, sorted(scaling.items())))
        if key not in self._angles:
            dim = self._config.head_dim
            frequencies = Tensor.from_const(rope.frequencies(dim, theta, scaling))
            self._angles[key] = call_kernel(
                rope.angles(dim), "rope_angles", [self._positions, frequencies], (self._tokens, dim)
            )
        return self._angles[key]


class HeadNorm(nn.Module):
    """The weight of a norm over the elements of a head; the rotation kernel applies it."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter((head_dim,), "float32")


class Attention(nn.Module):
    """Attention of one layer: projection, bias, head norms, rotation, cache, projection back.

    `matrix(n, k)` makes the weight matrices; dtype: the cache's. Parameters: qkv_proj and o_proj, with
    `config.qkv_bias` also qkv_proj.bias [qkv_size], with `config.qk_norm` also q_norm.weight and k_norm.weight
    [head_dim].
    """

    def __init__(self, config: DecoderConfig, matrix: Any, layer: int, dtype: str) -> None:
        super().__init__()
        self.config, self.layer, self.dtype = config, layer, dtype
        self.qkv_proj = matrix(config.qkv_size, config.hidden_size)
        if config.qkv_bias:
            self.qkv_proj.bias = nn.Parameter((config.qkv_size,), "float32")
        if config.qk_norm:
            self.q_norm, self.k_norm = HeadNorm(config.head_dim), HeadNorm(config.head_dim)
        self.o_proj = matrix(config.hidden_size, config.q_size)

    def forward(self, x: Tensor, rotations: Rotations, cache: PagedKVCache) -> Tensor:
        """float32 x [1, s, hidden_size] -> like x, the s tokens appended to the cache."""
        config, s = self.config, x.shape[1]
        heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        shape = (s, heads + 2 * kv_heads, dim)
        inputs = [self.qkv_proj(x), rotations.of(self.layer)]
        if config.qkv_bias:
            inputs.append(self.qkv_proj.bias)
        if config.qk_norm:
            inputs += [self.q_norm.weight, self.k_norm.weight]
        kernel = rope.rotate(
            heads,
            kv_heads,
            dim,
            score_factor(config.attention_scale, config.attention_softcap),
            config.rms_norm_eps,
            config.qkv_bias,
            config.qk_norm,
            T.serial if isinstance(s, int) and s == 1 else T.parallel,
            self.dtype,
        )
        qkv = call_kernel(kernel, "rope_rotate", inputs, shape, self.dtype)
        return self.o_proj(op.reshape(self._attend(qkv, cache), (1, s, config.q_size)))

    def _attend(self, qkv: Tensor, cache: PagedKVCache) -> Tensor:
        """qkv [s, heads + 2 kv, d] -> attention [s, heads, d]; the cache's own method adds two reshapes."""
        s, _, dim = qkv.shape
        window = float(self.config.window(self.layer))
        args: Any = [cache._expr, relax.prim_value(self.layer), relax.prim_value(window), qkv._expr]
        shape: Any = (s, self.config.num_attention_heads, dim)
        out = relax.TensorType(shape, qkv.dtype)
        call = relax.call_dps_packed("vm.builtin.attention_kv_cache_attention_with_fused_qkv", args, out_ty=out)
        builder: Any = relax.BlockBuilder.current()
        return Tensor(_expr=builder.emit(call))
