"""What training minimises, and what validation measures: cross-entropy on the student's own tokens.

Only positions that predict one of them reach the head: seven of eight logits are never needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from duomem.train.batches import padded_length
from duomem.train.dataset import Example


class ActionLoss(torch.nn.Module):
    """A causal language model (transformers', inside peft's) as a function from tokens to its loss on actions.

    A module, so that Accelerate can prepare it and synchronise gradients through its forward.
    """

    def __init__(self, model: Any, dtype: str) -> None:
        """`dtype`: of activations; below fp32 the fp32 adapter is cast to it at use, by autocast."""
        super().__init__()
        self.model = model
        self._dtype = getattr(torch, dtype)

    def forward(self, ids: torch.Tensor, loss_mask: torch.Tensor) -> torch.Tensor:
        """Summed cross-entropy (fp32) of the tokens that `loss_mask` marks. ids: int64, loss_mask: bool, both
        [rows, length], padded on the right: under a causal mask that needs no attention mask.
        """
        logits, targets = self._predict(ids, loss_mask)
        return cross_entropy(logits, targets, reduction="sum")

    @torch.no_grad()
    def measure(self, ids: torch.Tensor, loss_mask: torch.Tensor) -> tuple[float, list[bool]]:
        """(the same sum, whether each marked token is the likeliest one given all before it), row by row."""
        logits, targets = self._predict(ids, loss_mask)
        return float(cross_entropy(logits, targets, reduction="sum")), (logits.argmax(-1) == targets).tolist()

    def _predict(self, ids: torch.Tensor, loss_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        causal = self.model.get_base_model()
        with torch.autocast(ids.device.type, self._dtype, enabled=self._dtype != torch.float32):
            hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
            logits = causal.lm_head(hidden[:, :-1][loss_mask[:, 1:]]).float()
        cap = getattr(causal.config, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        return logits, ids[:, 1:][loss_mask[:, 1:]]


def collate(examples: Sequence[Example], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(token ids, loss mask) of `examples`, [rows, batches.padded_length], padded on the right with token 0."""
    length = padded_length(examples)
    ids = torch.zeros((len(examples), length), dtype=torch.long)
    loss_mask = torch.zeros((len(examples), length), dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.tokens)] = torch.tensor(example.tokens)
        loss_mask[row, : len(example.loss_mask)] = torch.tensor(example.loss_mask)
    return ids.to(device), loss_mask.to(device)
