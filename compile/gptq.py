"""Calibrated 4-bit rounding: GPTQ (Frantar et al., arXiv 2210.17323) into the q4f32_1 format.

Only which levels and scales are stored differs from `quantise_int4`: they keep the outputs on the student's
own episodes, not the weights themselves, near the original. Holds the whole model in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duomem.base.errors import UserError
from duomem.base.progress import progress
from duomem.compile.checkpoint import Checkpoint
from duomem.compile.models.config import Weight
from duomem.compile.quantise import GROUP, LEAST, MOST, dequantise_int4, group_scales, pack_int4, quantise_int4
from duomem.compile.reference import load_reference, set_weight

if TYPE_CHECKING:
    import torch

_DAMPING = 0.01
"""Share of the Hessian's mean diagonal that is added to its diagonal."""


@dataclass(frozen=True)
class Calibration:
    """episodes: token ids, an episode each; record: where they come from, as bundle.json tells it (JSON)."""

    episodes: tuple[tuple[int, ...], ...]
    record: dict[str, Any]


def quantise_calibrated(
    checkpoint: Checkpoint, calibration: Calibration
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(q, scale), as of `quantise_int4`, of every matrix of the model by its name.

    Layer by layer, each from the activations that the layers before it, already quantised, give. Raises
    UserError if transformers cannot load the model or a token is none of its vocabulary.
    """
    import torch

    if max(map(max, calibration.episodes)) >= checkpoint.config.vocab_size:
        raise UserError(
            f"{checkpoint.folder / 'tokenizer.json'}: is not this model's tokenizer: save both into one folder"
        )
    run = _Run(checkpoint)
    with torch.no_grad():
        run.run([torch.tensor([tokens]) for tokens in calibration.episodes])
    return run.stored


class _Run:
    """One pass over the layers; `model` holds the dequantised values of what is `stored`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.model = load_reference(checkpoint)
        self.weights = {weight.name: weight for weight in checkpoint.config.weights()}
        self.stored: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def run(self, episodes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Quantise every matrix; `episodes` are token ids [1, n]. What reaches the head, [1, n, hidden] each."""
        import torch

        core = self.model.model
        table = self.weights["model.embed_tokens"]
        self._keep(table, *quantise_int4(self.checkpoint.matrix(table)))
        hidden = [core.embed_tokens(tokens) for tokens in episodes]
        rotary = [core.rotary_emb(h, torch.arange(h.shape[1])[None]) for h in hidden]
        for i, layer in enumerate(progress(core.layers, "calibrated rounding", unit="layer")):
            hidden = self._layer(f"model.layers.{i}.", layer, hidden, rotary)
        head = self.weights.get("lm_head", table)
        outputs = [core.norm(h) for h in hidden]
        self._round(head, outputs)
        return outputs

    def _layer(
        self, name: str, layer: Any, hidden: list[torch.Tensor], rotary: list[Any]
    ) -> list[torch.Tensor]:
        """Quantise the layer's four matrices; its outputs for the inputs `hidden`, [1, n, hidden] each."""
        import torch

        attention, mlp = layer.self_attn, layer.mlp
        inputs = [layer.input_layernorm(h) for h in hidden]
        self._round(self.weights[name + "self_attn.qkv_proj"], inputs)
        out, attention.o_proj = attention.o_proj, torch.nn.Identity()
        mixed = [
            attention(x, position_embeddings=r, attention_mask=None)[0]
            for x, r in zip(inputs, rotary, strict=True)
        ]
        attention.o_proj = out
        self._round(self.weights[name + "self_attn.o_proj"], mixed)
        hidden = [h + out(x) for h, x in zip(hidden, mixed, strict=True)]
        inputs = [layer.post_attention_layernorm(h) for h in hidden]
        self._round(self.weights[name + "mlp.gate_up_proj"], inputs)
        inner = [mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x) for x in inputs]
        self._round(self.weights[name + "mlp.down_proj"], inner)
        return [h + mlp.down_proj(x) for h, x in zip(hidden, inner, strict=True)]

    def _round(self, weight: Weight, inputs: Sequence[torch.Tensor]) -> None:
        self._keep(weight, *gptq(self.checkpoint.matrix(weight), hessian(inputs)))

    def _keep(self, weight: Weight, q: np.ndarray, scale: np.ndarray) -> None:
        self.stored[weight.name] = q, scale
        set_weight(self.model, self.checkpoint.config, weight, dequantise_int4(q, scale))


def hessian(inputs: Sequence[torch.Tensor]) -> np.ndarray:
    """X^T X, float32 [K, K], of the rows of all `inputs`, [..., K] each."""
    rows = [x.reshape(-1, x.shape[-1]) for x in inputs]
    total = rows[0].T @ rows[0]
    for x in rows[1:]:
        total.addmm_(x.T, x)
    return total.numpy()


def gptq(w: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, K] and its inputs' X^T X [K, K] -> (uint32 [N, K/8], float32 [N, K/32]), as of `quantise_int4`.

    Column by column, what rounding one loses is made up for by those not yet rounded. The groups with the
    largest inputs go first, and so do the columns within each, while there is most left to make up with. A
    group's scale is chosen when it is reached, for the weights as they are by then, with an error counted by
    how large its column's inputs are.
    """
    import torch

    n, k = w.shape
    importance = np.diagonal(hessian)
    order = _order(importance)
    feedback = _feedback(hessian[np.ix_(order, order)])
    rest = torch.from_numpy(np.ascontiguousarray(w[:, order], np.float32))
    levels = np.empty((n, k), np.float32)
    scale = np.empty((n, k // GROUP), np.float32)
    for start in range(0, k, GROUP):
        now, later = slice(start, start + GROUP), slice(start + GROUP, k)
        columns = order[now]
        block = rest[:, now].contiguous()
        chosen = group_scales(block.numpy(), importance[columns])
        rounded, errors = _round_group(block, torch.from_numpy(chosen), feedback[now, now])
        levels[:, columns], scale[:, columns[0] // GROUP] = rounded.numpy(), chosen
        rest[:, later].addmm_(errors, feedback[now, later], alpha=-1)
    return pack_int4(levels.reshape(-1, GROUP)).reshape(n, -1), scale


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
    block: torch.Tensor, scale: torch.Tensor, feedback: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels -7..8 and scaled errors, float32 [N, 32] each, of the columns `block` [N, 32] for `scale` [N]."""
    import torch

    w = block.T.contiguous()
    levels, errors = torch.empty_like(w), torch.empty_like(w)
    inverse = torch.where(scale != 0, 1 / scale, 0.0)
    for j in range(GROUP):
        torch.round(w[j] * inverse, out=levels[j]).clamp_(LEAST, MOST)
        torch.div(w[j] - levels[j] * scale, feedback[j, j], out=errors[j])
        w[j + 1 :].addr_(feedback[j, j + 1 :], errors[j], alpha=-1)
    return levels.T.contiguous(), errors.T.contiguous()
