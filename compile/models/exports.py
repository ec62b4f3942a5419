"""What a compiled library exports: its functions over a decoder, its KV cache object, and the passes to VM code.

The same for every device; decoder.py and gpu.py fill in layers, kernels and schedules. Build process only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, te, tirx
from tvm.relax.frontend import nn
from tvm.relax.frontend.nn import Tensor, op
from tvm.relax.frontend.nn.llm.kv_cache import AttnKind, PagedKVCache, RopeMode

from duomem.compile.models.config import DecoderConfig

_NO_SLIDING = 0
_UNUSED_WINDOW = 1024
"""Window of layers with sliding attention, of which there are none; TVM asks for a positive number."""


class LibraryModel(nn.Module):
    """The functions a library exports, over one set of parameters, named alike for all families and devices."""

    model: Any
    """The decoder: (ids [1, s], cache) -> float32 [1, s, hidden]."""

    def _head(self, x: Tensor) -> Tensor:
        """float32 [1, rows, hidden] of `model` -> logits [1, rows, vocab]."""
        raise NotImplementedError

    def _cache(self, sizes: list[tirx.Var]) -> PagedKVCache:
        """See `paged_kv_cache`."""
        raise NotImplementedError

    def prefill(self, ids: Tensor, cache: PagedKVCache) -> tuple[Tensor, PagedKVCache]:
        """Append the tokens; logits after the last."""
        x: Any = op.tensor_expr_op(_last_position, "last_position", [self.model(ids, cache)])
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
        return self._cache([max_batch, max_tokens, chunk, page_size])

    def export_library(self, target: tvm.target.Target) -> tuple[tvm.IRModule, list[tuple[str, Any]]]:
        """The model as an IRModule, and its parameters by name, in the order every function takes them."""
        cache = nn.spec.Object(object_type=PagedKVCache)
        packed = {"param_mode": "packed", "effect_mode": "none"}
        lengths: dict[str, Any] = {"prefill": "n", "prefill_all": "n", "decode": 1}
        spec: dict[str, Any] = {
            name: {"ids": nn.spec.Tensor([1, n], "int32"), "cache": cache, "$": packed} for name, n in lengths.items()
        }
        sizes = dict.fromkeys(("max_batch", "max_tokens", "chunk", "page_size"), int)
        spec["create_kv_cache"] = {**sizes, "$": {"param_mode": "none", "effect_mode": "none"}}
        with target:
            module, params, *_ = self.export_tvm(spec, allow_extern=True)
        return module, [*params]


def _last_position(x: Any) -> Any:
    _, s, d = x.shape

    def take(_batch: tirx.Var, _row: tirx.Var, i: tirx.Var) -> Any:
        return x[0, s - 1, i]

    return te.compute((1, 1, d), take, name="last_position")


@dataclass(frozen=True)
class CacheKernels:
    """The PrimFuncs TVM's paged KV cache calls; the three attentions get what they need from its C++."""

    append: Any
    ragged_prefill: Any
    paged_prefill: Any
    paged_decode: Any
    merge: Any
    rope_split: Any
    copy_page: Any
    read: Any
    compact: Any


def paged_kv_cache(
    config: DecoderConfig, sizes: list[tirx.Var], rope_mode: RopeMode, kernels: CacheKernels, dtype: str
) -> PagedKVCache:
    """A cache of `dtype` over `kernels`, attention over chains only. sizes: sequences, tokens in all, prefill chunk
    and page, in tokens.

    The kernels TVM would call for windows that evict, token trees and MLA are left out: none of it is used.
    """
    builder: Any = relax.BlockBuilder.current()
    shape: Any = relax.ShapeExpr
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim

    def kernel(function: tirx.PrimFunc, name: str) -> relax.Tuple:
        return relax.Tuple([tvm.ir.StringImm("tirx"), builder.add_func(function, name)])

    absent = relax.Tuple([])
    args = [
        shape([*sizes, _NO_SLIDING, _UNUSED_WINDOW]),
        shape([0, config.num_hidden_layers]),
        *(relax.prim_value(n) for n in (heads, kv_heads, dim, dim)),
        shape([int(AttnKind.MHA)] * config.num_hidden_layers),
        relax.prim_value(False),
        relax.prim_value(rope_mode),
        relax.prim_value(1),
        relax.prim_value(config.rope_theta),
        relax.prim_value(0),
        relax.op.zeros(shape([]), dtype),
        builder.add_func(kernels.append, "kv_append"),
        relax.prim_value(0),
        kernel(kernels.ragged_prefill, "attention_ragged"),
        kernel(kernels.paged_prefill, "attention_paged"),
        kernel(kernels.paged_decode, "attention_decode"),
        *[absent] * 5,
        relax.Tuple([builder.add_func(kernels.merge, "attention_merge")]),
        builder.add_func(kernels.rope_split, "rope_split"),
        builder.add_func(kernels.copy_page, "kv_copy_page"),
        builder.add_func(kernels.read, "kv_read"),
        builder.add_func(kernels.compact, "kv_compact"),
    ]
    call = relax.call_pure_packed("vm.builtin.paged_attention_kv_cache_create", *args, ty_args=relax.AnyType())
    return PagedKVCache(_expr=call, _name="paged_kv_cache")


def pipeline(target: tvm.target.Target, *schedules: tvm.transform.Pass) -> tvm.transform.Pass:
    """Relax passes from the model to VM code; `schedules` are for kernels that are not scheduled by hand."""
    t = relax.transform
    return tvm.transform.Sequential(
        [
            tirx.transform.BindTarget(target),
            t.LegalizeOps(),
            t.AnnotateTIROpPattern(),
            t.FoldConstant(),
            t.RewriteDataflowReshape(),  # before fusion, which would make copies of views
            t.FuseOps(),
            t.FuseTIR(),
            t.DeadCodeElimination(),
            *schedules,
            t.ToNonDataflow(),
            t.RemovePurityChecking(),
            t.CallTIRRewrite(),
            t.StaticPlanBlockMemory(),
            t.LowerAllocTensor(),
            t.KillAfterLastUse(),
            t.LowerRuntimeBuiltin(),
            t.VMShapeLower(),
            t.AttachGlobalSymbol(),
        ]
    )
