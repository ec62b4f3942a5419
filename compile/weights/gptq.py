"""Calibrated rounding: GPTQ (Frantar et al., arXiv 2210.17323) into the codes and scales of a scheme.

The layout is that of `quantize`; the codes and scales keep the outputs on the student's own episodes near the
original, not the weights themselves. One decoder layer is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.gptq_matrix import Gptq, hessian
from duomem.compile.weights.layered import EMBEDDING, LayeredModel, set_weight
from duomem.compile.weights.quantize import dequantize, quantize, quantize_blocks
from duomem.core.errors import CompileError
from duomem.core.progress import progress

if TYPE_CHECKING:
    import torch

Keep = Callable[[Weight, np.ndarray, np.ndarray], None]
"""Takes a matrix's q and scale, as of `quantize`."""


@dataclass(frozen=True)
class Calibration:
    """episodes: token ids, an episode each; record: where they come from, as bundle.json tells it (JSON)."""

    episodes: tuple[tuple[int, ...], ...]
    record: dict[str, Any]


def calibrated_order(config: DecoderConfig) -> list[Weight]:
    """The model's matrices in the order that `quantize_calibrated` rounds them: a tied head last."""
    table, *others = (weight for weight in config.weights() if weight.is_matrix)
    return [*others, table] if config.tie_word_embeddings else [table, *others]


def quantize_calibrated(checkpoint: Checkpoint, calibration: Calibration, scheme: str, keep: Keep) -> None:
    """Give `keep` every matrix of the model, in `calibrated_order`.

    Layer by layer, each from the activations that the layers before it, already quantized, give. Nothing kept stays
    in memory. Raises CompileError if transformers cannot load the model or a token is none of its vocabulary.
    """
    import torch

    if max(map(max, calibration.episodes)) >= checkpoint.config.vocab_size:
        raise CompileError(
            f"{checkpoint.folder / 'tokenizer.json'}: is not this model's tokenizer: save both into one folder"
        )
    with torch.no_grad():
        _Run(checkpoint, scheme, keep).run(calibration.episodes)


class _Run:
    """One pass over the layers, each loaded when it is reached."""

    def __init__(self, checkpoint: Checkpoint, scheme: str, keep: Keep) -> None:
        self.checkpoint, self.scheme, self.keep = checkpoint, scheme, keep
        self.model = LayeredModel(checkpoint)
        self.weights = {source: weight for weight in checkpoint.config.weights() for source in weight.sources}

    def run(self, episodes: Sequence[Sequence[int]]) -> torch.Tensor:
        """Quantize every matrix; `episodes` are token ids. What reaches the head, [n, hidden] of all tokens."""
        import torch

        hidden = torch.cat(self.model.embed(episodes, self._embedding), 1)[0]
        lengths = [len(tokens) for tokens in episodes]
        for i in progress(range(len(self.model)), "calibrated rounding", unit="layers"):
            with self.model.layer(i, self.checkpoint.tensor) as layer:
                hidden = self._layer(i, layer, hidden, lengths)
        with self.model.norm(self.checkpoint.tensor) as norm:
            hidden = norm(hidden)
        self._round(None, "", [self.model.head_source], hidden)
        return hidden

    def _embedding(self, ids: np.ndarray) -> np.ndarray:
        """The rows `ids` of the embedding, rounded each by itself; all of them are kept unless it is the head too."""
        table = self.weights[EMBEDDING]
        if not self.checkpoint.config.tie_word_embeddings:
            self.keep(table, *quantize_blocks(table, self.checkpoint.blocks(table), self.scheme))
        return dequantize(*quantize(self.checkpoint.rows(EMBEDDING, ids), self.scheme))

    def _layer(self, i: int, layer: Any, hidden: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Quantize the layer's matrices; its outputs for the inputs `hidden`, [n, hidden] of texts of these lengths."""
        import torch

        def plain(x: torch.Tensor) -> torch.Tensor:
            return x

        attention, mlp, name = layer.self_attn, layer.mlp, f"model.layers.{i}."
        before_mlp, after_attention, after_mlp = layer.post_attention_layernorm, plain, plain
        if self.checkpoint.config.sandwich_norms:
            before_mlp, after_attention = layer.pre_feedforward_layernorm, layer.post_attention_layernorm
            after_mlp = layer.post_feedforward_layernorm
        inputs = layer.input_layernorm(hidden)
        self._round(layer, name, [f"{name}self_attn.{x}_proj.weight" for x in "qkv"], inputs)
        out, attention.o_proj = attention.o_proj, torch.nn.Identity()
        texts = inputs.split(list(lengths))
        mixed = torch.cat([attention(x[None], **self.model.positions(i, len(x)))[0][0] for x in texts])
        attention.o_proj = out
        self._round(layer, name, [name + "self_attn.o_proj.weight"], mixed)
        hidden = hidden + after_attention(out(mixed))
        inputs = before_mlp(hidden)
        self._round(layer, name, [name + "mlp.gate_proj.weight", name + "mlp.up_proj.weight"], inputs)
        inner = mlp.act_fn(mlp.gate_proj(inputs)).mul_(mlp.up_proj(inputs))
        self._round(layer, name, [name + "mlp.down_proj.weight"], inner)
        return hidden + after_mlp(mlp.down_proj(inner))

    def _round(self, layer: Any, prefix: str, sources: Sequence[str], inputs: torch.Tensor) -> None:
        """Quantize the stored weights that hold the matrices `sources`, which share their inputs [n, K], and set them
        in `layer`, whose names begin with `prefix`; None sets them nowhere.
        """
        rounding = Gptq(hessian(inputs), self.scheme)
        for weight in dict.fromkeys(self.weights[source] for source in sources):
            blocks = self.checkpoint.blocks(weight) if layer is None else [self.checkpoint.matrix(weight)]
            q, scale = rounding.round(weight.shape[0], blocks)
            self.keep(weight, q, scale)
            if layer is not None:
                set_weight(layer, prefix, self.checkpoint.config, weight, dequantize(q, scale))
