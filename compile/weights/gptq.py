"""Calibrated rounding: GPTQ (Frantar et al., arXiv 2210.17323) into the codes and scales of a scheme.

The layout is that of `quantize`; the codes and scales keep the outputs on the student's own episodes near the
original, not the weights themselves. One decoder layer is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.compile.weights.layered import EMBEDDING, LayeredModel, set_weight
from duomem.compile.weights.quantize import DIVISORS, dequantize, pack, quantize, quantize_blocks, round_scale
from duomem.core.errors import CompileError
from duomem.core.progress import progress
from duomem.device.engine.schemes import GROUP, SCHEMES, Scheme

if TYPE_CHECKING:
    import torch

_DAMPING = 0.01
"""Share of the Hessian's mean diagonal that is added to its diagonal."""
_ROWS = 2048
"""Rows of a matrix rounded at once: what they need stays in the caches."""
_SPAN = 8
"""Columns of a group whose errors go to the group's others one by one; later ones get them together."""
_TRIANGLE = 256
"""Rows of a triangular matrix that is inverted without splitting it."""

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
        for i in progress(range(len(self.model)), "calibrated rounding", unit="layer"):
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
            q, scale = rounding.round(weight.shape[0], self.checkpoint.blocks(weight))
            self.keep(weight, q, scale)
            if layer is not None:
                set_weight(layer, prefix, self.checkpoint.config, weight, dequantize(q, scale))


def hessian(inputs: torch.Tensor) -> np.ndarray:
    """X^T X, float32 [K, K], of inputs X [n, K]."""
    x = inputs.numpy()
    return x.T @ x  # NumPy computes a matrix times its own transpose in half the time.


class Gptq:
    """GPTQ of matrices that share their inputs.

    Column by column, what rounding one loses is made up for by those not yet rounded. The groups with the
    largest inputs go first, and so do the columns within each, while there is most left to make up with. A
    group's scale is chosen when it is reached, for the weights as they are by then, with an error counted by
    how large its column's inputs are. Rows do not depend on each other.
    """

    def __init__(self, hessian: np.ndarray, scheme: str) -> None:
        """hessian: the inputs' X^T X, float32 [K, K]."""
        self._scheme = scheme
        self._importance = np.diagonal(hessian).copy()
        self._order = _order(self._importance)
        self._feedback = _feedback(hessian, self._order)

    def round(self, n: int, blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """A matrix of n rows, float32 [r, K] a block -> (uint32 [n, K * bits / 32], float32 [n, K / 32]), as of
        `quantize`.
        """
        k = len(self._order)
        q = np.empty((n, k // GROUP * SCHEMES[self._scheme].bits), np.uint32)
        scale = np.empty((n, k // GROUP), np.float32)
        row = 0
        for block in blocks:
            for begin in range(0, len(block), _ROWS):
                part = block[begin : begin + _ROWS]
                rows = slice(row, row + len(part))
                q[rows], scale[rows] = self._round_rows(part)
                row += len(part)
        return q, scale

    def _round_rows(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`round` of some rows, [N, K]."""
        import torch

        n, k = w.shape
        kind = SCHEMES[self._scheme]
        rest = torch.from_numpy(np.ascontiguousarray(w.T[self._order]))
        importance = torch.from_numpy(self._importance[self._order])
        codes = np.empty((k, n), np.float32)
        scale = np.empty((k // GROUP, n), np.float32)
        for start in range(0, k, GROUP):
            now, later = slice(start, start + GROUP), slice(start + GROUP, k)
            columns = self._order[now]
            feedback = self._feedback[now]
            chosen = group_scales(rest[now], importance[now], kind)
            rounded, errors = _round_group(rest[now], chosen, feedback[:, now], kind.qmin)
            codes[columns], scale[columns[0] // GROUP] = rounded.numpy(), chosen.numpy()
            rest[later].addmm_(feedback[:, later].T, errors, alpha=-1)
        by_row = np.ascontiguousarray(codes.T).reshape(-1, GROUP)
        return pack(by_row, self._scheme).reshape(n, -1), scale.T


def group_scales(w: torch.Tensor, importance: torch.Tensor, kind: Scheme) -> torch.Tensor:
    """Scales, float32 [N], of the groups `w` [32, N], as `quantize` chooses them but with the squared error of column k
    counted `importance[k]` times.
    """
    import torch

    high, low = w.amax(0), w.amin(0)
    largest = torch.where(high >= -low, high, low).numpy()
    codes, error = torch.empty_like(w), torch.empty_like(w)

    def tried(scale: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        s = torch.from_numpy(round_scale(scale, kind))
        _nearest(w, s, kind.qmin, codes)
        torch.mul(codes, s, out=error)
        return s, importance @ error.sub_(w).square_()

    best, least = tried(largest / DIVISORS[kind.bits][0])
    for divisor in DIVISORS[kind.bits][1:]:
        scale, lost = tried(largest / divisor)
        best, least = torch.where(lost < least, scale, best), torch.minimum(lost, least)
    _nearest(w, best, kind.qmin, codes)
    norm = importance @ torch.mul(codes, codes, out=error)
    refined = (importance @ torch.mul(codes, w, out=error)).div_(norm).nan_to_num_(0.0, 0.0, 0.0)
    scale, lost = tried(refined.numpy())
    return torch.where(lost < least, scale, best)


def _nearest(w: torch.Tensor, scale: torch.Tensor, qmin: int, out: torch.Tensor) -> None:
    """The codes of `w` [32, N] for `scale` [N], 0 where the scale is."""
    import torch

    torch.mul(w, torch.where(scale != 0, 1 / scale, 0.0), out=out)
    out.round_().clamp_(qmin, 1 - qmin)


def _order(importance: np.ndarray) -> np.ndarray:
    """The columns [K] in the order they are rounded: whole groups, largest sum first, largest first in each."""
    groups = importance.reshape(-1, GROUP)
    within = np.argsort(-groups, axis=1, kind="stable") + np.arange(0, importance.size, GROUP)[:, None]
    return within[np.argsort(-groups.sum(axis=1), kind="stable")].ravel()


def _feedback(hessian: np.ndarray, order: np.ndarray) -> torch.Tensor:
    """The upper Cholesky factor U, U^T U = (H + damping)^-1, of the Hessian in this order: float32 [K, K].

    With both axes reversed H is L L^T; then U is L^-1, both axes reversed again.
    """
    import torch

    back = order[::-1].copy()
    h = torch.from_numpy(hessian[back[:, None], back]).double()
    mean = float(h.diagonal().mean())
    h.diagonal().add_(_DAMPING * mean if mean > 0 else 1.0)
    factor = torch.linalg.cholesky(h).float()
    del h
    _invert_lower(factor)
    return factor.flip(0, 1)


def _invert_lower(a: torch.Tensor) -> None:
    """Replace a lower triangular matrix [K, K] by its inverse."""
    import torch

    k = len(a)
    if k <= _TRIANGLE:
        a.copy_(torch.linalg.solve_triangular(a, torch.eye(k, dtype=a.dtype), upper=False))
        return
    half = k // 2
    first, second = a[:half, :half], a[half:, half:]
    _invert_lower(first)
    _invert_lower(second)
    a[half:, :half] = torch.linalg.multi_dot((second, a[half:, :half], first)).neg_()


def _round_group(
    w: torch.Tensor, scale: torch.Tensor, feedback: torch.Tensor, qmin: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes qmin..1 - qmin and scaled errors, float32 [32, N] each, of the columns `w` [32, N] for `scale` [N]."""
    import torch

    rest = w * torch.where(scale != 0, 1 / scale, 0.0)  # in units of the scale
    codes, errors = torch.empty_like(rest), torch.empty_like(rest)
    pivots = feedback.diagonal()[:, None]
    shares = feedback / pivots
    for start in range(0, GROUP, _SPAN):
        end = start + _SPAN
        for j in range(start, end):
            torch.round(rest[j], out=codes[j]).clamp_(qmin, 1 - qmin)
            torch.sub(rest[j], codes[j], out=errors[j])
            rest[j + 1 : end].addr_(shares[j, j + 1 : end], errors[j], alpha=-1)
        rest[end:].addmm_(shares[start:end, end:].T, errors[start:end], alpha=-1)
    return codes, errors.mul_(scale).div_(pivots)
