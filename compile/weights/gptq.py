"""Calibrated rounding: GPTQ (Frantar et al., arXiv 2210.17323) into the codes and scales of a scheme.

The layout is that of `quantize`; the codes and scales keep the outputs on the student's own episodes near the
original, not the weights themselves. One decoder layer is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duomem.compile.models.config import Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.layered import EMBEDDING, LayeredModel, set_weight
from duomem.compile.weights.quantize import dequantize, group_scales, pack, quantize
from duomem.core.errors import CompileError
from duomem.core.progress import progress
from duomem.device.engine.schemes import GROUP, SCHEMES

if TYPE_CHECKING:
    import torch

_DAMPING = 0.01
"""Share of the Hessian's mean diagonal that is added to its diagonal."""


_ROWS = 16384
"""Rows of a matrix rounded at once: a head of a large vocabulary is never copied whole."""


@dataclass(frozen=True)
class Calibration:
    """episodes: token ids, an episode each; record: where they come from, as bundle.json tells it (JSON)."""

    episodes: tuple[tuple[int, ...], ...]
    record: dict[str, Any]


def quantize_calibrated(
    checkpoint: Checkpoint, calibration: Calibration, scheme: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(q, scale), as of `quantize`, of every matrix of the model by its name.

    Layer by layer, each from the activations that the layers before it, already quantized, give. Raises
    CompileError if transformers cannot load the model or a token is none of its vocabulary.
    """
    import torch

    if max(map(max, calibration.episodes)) >= checkpoint.config.vocab_size:
        raise CompileError(
            f"{checkpoint.folder / 'tokenizer.json'}: is not this model's tokenizer: save both into one folder"
        )
    run = _Run(checkpoint, scheme)
    with torch.no_grad():
        run.run(calibration.episodes)
    return run.stored


class _Run:
    """One pass over the layers, each loaded when it is reached; `stored` are the matrices rounded so far."""

    def __init__(self, checkpoint: Checkpoint, scheme: str) -> None:
        self.checkpoint, self.scheme = checkpoint, scheme
        self.model = LayeredModel(checkpoint)
        self.weights = {source: weight for weight in checkpoint.config.weights() for source in weight.sources}
        self.stored: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def run(self, episodes: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Quantize every matrix; `episodes` are token ids. What reaches the head, [1, n, hidden] each."""
        table = self.weights[EMBEDDING]
        matrix = self._keep(table, *quantize(self.checkpoint.matrix(table), self.scheme))
        hidden = [self.model.embed(tokens, matrix) for tokens in episodes]
        del matrix
        for i in progress(range(len(self.model)), "calibrated rounding", unit="layer"):
            with self.model.layer(i, self.checkpoint.tensor) as layer:
                hidden = self._layer(i, layer, hidden)
        with self.model.norm(self.checkpoint.tensor) as norm:
            outputs = [norm(h) for h in hidden]
        self._round(None, "", [self.model.head_source], outputs)
        return outputs

    def _layer(self, i: int, layer: Any, hidden: list[torch.Tensor]) -> list[torch.Tensor]:
        """Quantize the layer's matrices; its outputs for the inputs `hidden`, [1, n, hidden] each."""
        import torch

        def plain(x: torch.Tensor) -> torch.Tensor:
            return x

        attention, mlp, name = layer.self_attn, layer.mlp, f"model.layers.{i}."
        before_mlp, after_attention, after_mlp = layer.post_attention_layernorm, plain, plain
        if self.checkpoint.config.sandwich_norms:
            before_mlp, after_attention = layer.pre_feedforward_layernorm, layer.post_attention_layernorm
            after_mlp = layer.post_feedforward_layernorm
        inputs = [layer.input_layernorm(h) for h in hidden]
        self._round(layer, name, [f"{name}self_attn.{x}_proj.weight" for x in "qkv"], inputs)
        out, attention.o_proj = attention.o_proj, torch.nn.Identity()
        mixed = [attention(x, **self.model.positions(i, x.shape[1]))[0] for x in inputs]
        attention.o_proj = out
        self._round(layer, name, [name + "self_attn.o_proj.weight"], mixed)
        hidden = [h + after_attention(out(x)) for h, x in zip(hidden, mixed, strict=True)]
        inputs = [before_mlp(h) for h in hidden]
        self._round(layer, name, [name + "mlp.gate_proj.weight", name + "mlp.up_proj.weight"], inputs)
        inner = [mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x) for x in inputs]
        self._round(layer, name, [name + "mlp.down_proj.weight"], inner)
        return [h + after_mlp(mlp.down_proj(x)) for h, x in zip(hidden, inner, strict=True)]

    def _round(self, layer: Any, prefix: str, sources: Sequence[str], inputs: Sequence[torch.Tensor]) -> None:
        """Quantize the stored weights that hold the matrices `sources`, which share their inputs, and set them in
        `layer`, whose names begin with `prefix`; None sets them nowhere.
        """
        total = hessian(inputs)
        for weight in dict.fromkeys(self.weights[source] for source in sources):
            rounded = self._keep(weight, *gptq(self.checkpoint.matrix(weight), total, self.scheme))
            if layer is not None:
                set_weight(layer, prefix, self.checkpoint.config, weight, rounded)

    def _keep(self, weight: Weight, q: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Store the codes; the values they stand for."""
        self.stored[weight.name] = q, scale
        return dequantize(q, scale)


def hessian(inputs: Sequence[torch.Tensor]) -> np.ndarray:
    """X^T X, float32 [K, K], of the rows of all `inputs`, [..., K] each."""
    rows = [x.reshape(-1, x.shape[-1]) for x in inputs]
    total = rows[0].T @ rows[0]
    for x in rows[1:]:
        total.addmm_(x.T, x)
    return total.numpy()


def gptq(w: np.ndarray, hessian: np.ndarray, scheme: str) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K] and its inputs' X^T X [K, K] -> (uint32 [N, K * bits / 32], float32 [N, K / 32]), as of
    `quantize`.

    Column by column, what rounding one loses is made up for by those not yet rounded. The groups with the
    largest inputs go first, and so do the columns within each, while there is most left to make up with. A
    group's scale is chosen when it is reached, for the weights as they are by then, with an error counted by
    how large its column's inputs are.
    """
    n, k = w.shape
    importance = np.diagonal(hessian)
    order = _order(importance)
    feedback = _feedback(hessian[np.ix_(order, order)])
    codes = np.empty((n, k // GROUP * SCHEMES[scheme].bits), np.uint32)
    scale = np.empty((n, k // GROUP), np.float32)
    for row in range(0, n, _ROWS):
        rows = slice(row, row + _ROWS)
        codes[rows], scale[rows] = _gptq_rows(w[rows], order, importance, feedback, scheme)
    return codes, scale


def _gptq_rows(
    w: np.ndarray, order: np.ndarray, importance: np.ndarray, feedback: torch.Tensor, scheme: str
) -> tuple[np.ndarray, np.ndarray]:
    """`gptq` of some rows, whose columns are rounded in this order [K] with this feedback [K, K]."""
    import torch

    n, k = w.shape
    rest = torch.from_numpy(np.ascontiguousarray(w[:, order], np.float32))
    codes = np.empty((n, k), np.float32)
    scale = np.empty((n, k // GROUP), np.float32)
    for start in range(0, k, GROUP):
        now, later = slice(start, start + GROUP), slice(start + GROUP, k)
        columns = order[now]
        block = rest[:, now].contiguous()
        chosen = group_scales(block.numpy(), importance[columns], scheme)
        rounded, errors = _round_group(block, torch.from_numpy(chosen), feedback[now, now], SCHEMES[scheme].qmin)
        codes[:, columns], scale[:, columns[0] // GROUP] = rounded.numpy(), chosen
        rest[:, later].addmm_(errors, feedback[now, later], alpha=-1)
    return pack(codes.reshape(-1, GROUP), scheme).reshape(n, -1), scale


def _order(importance: np.ndarray) -> np.ndarray:
    """The columns [K] in the order they are rounded: whole groups, largest sum first, largest first in each."""
    groups = importance.reshape(-1, GROUP)
    within = np.argsort(-groups, axis=1, kind="stable") + np.arange(0, importance.size, GROUP)[:, None]
    return within[np.argsort(-groups.sum(axis=1), kind="stable")].ravel()


def _feedback(hessian: np.ndarray) -> torch.Tensor:
    """The upper Cholesky factor U, U^T U = (H + damping)^-1: float32 [K, K]."""
    import torch

    h = torch.from_numpy(hessian).double()
    mean = float(h.diagonal().mean())
    h.diagonal().add_(_DAMPING * mean if mean > 0 else 1.0)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return torch.linalg.cholesky(inverse, upper=True).float()


def _round_group(
    block: torch.Tensor, scale: torch.Tensor, feedback: torch.Tensor, qmin: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes qmin..1 - qmin and scaled errors, float32 [N, 32] each, of the columns `block` [N, 32] for
    `scale` [N].
    """
    import torch

    w = block.T.contiguous()
    codes, errors = torch.empty_like(w), torch.empty_like(w)
    inverse = torch.where(scale != 0, 1 / scale, 0.0)
    for j in range(GROUP):
        torch.round(w[j] * inverse, out=codes[j]).clamp_(qmin, 1 - qmin)
        torch.div(w[j] - codes[j] * scale, feedback[j, j], out=errors[j])
        w[j + 1 :].addr_(feedback[j, j + 1 :], errors[j], alpha=-1)
    return codes.T.contiguous(), errors.T.contiguous()
