"""What a pass over the model costs at least, in bytes and floating-point operations, as bundle.json records it.

`compile.models.accounting` counts it from the model's definition; the bench divides it by measured seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from duomem.core.errors import BundleError


@dataclass(frozen=True)
class AttentionCost:
    """The attention of `layers` layers that see the last `window` tokens (0: all of them)."""

    layers: int
    window: int
    flops_per_pair: int
    """One layer's operations for one query on one key: scores and weighted values."""
    kv_bytes_per_token: int
    """One layer's keys and values of one token."""

    def keys(self, context: int) -> int:
        """Keys the token after `context` others attends to, itself included."""
        return min(context + 1, self.window or context + 1)


@dataclass(frozen=True)
class DecoderCost:
    """Cost of a decoder. Counted: matrix products and attention. Left out, as below 1 %: norms, rotations,
    activations, softmax, activations' traffic and the embedding row of a token.

    Bytes are as stored in the bundle: what has to move at least, whatever form a library keeps them in.
    """

    weight_bytes: int
    """Weights one pass reads once. An embedding table that is not also the head counts nothing."""
    layer_flops: int
    """Operations of the layers' matrices for one token: two for each weight."""
    head_flops: int
    """Operations of the head for one position whose logits are wanted."""
    attention: tuple[AttentionCost, ...]

    def decode_bytes(self, context: int) -> int:
        """Bytes read to append one token after `context` others, its own keys and values included."""
        return self.weight_bytes + sum(a.layers * a.kv_bytes_per_token * a.keys(context) for a in self.attention)

    def decode_flops(self, context: int) -> int:
        """Operations to append one token after `context` others and get its logits."""
        return self.prefill_flops(1, context)

    def prefill_flops(self, tokens: int, context: int = 0) -> int:
        """Operations to append `tokens` after `context` others and get the logits of the last."""
        pairs = sum(
            a.layers * a.flops_per_pair * sum(map(a.keys, range(context, context + tokens))) for a in self.attention
        )
        return tokens * self.layer_flops + self.head_flops + pairs

    def to_json(self) -> dict[str, Any]:
        """JSON value; `from_json` is the way back."""
        return {**asdict(self), "attention": [asdict(a) for a in self.attention]}

    @classmethod
    def from_json(cls, value: Any, where: str) -> DecoderCost:
        """The cost that field `cost` of the file `where` holds. Raises BundleError naming the wrong field."""
        attention = value.get("attention") if isinstance(value, dict) else None
        if not isinstance(attention, list) or not 0 < len(attention) <= 1024:
            raise _wrong(where, "attention", "a list")
        parts = tuple(
            AttentionCost(
                **_counts(part, ("layers", "window", "flops_per_pair", "kv_bytes_per_token"), where, f"attention[{i}].")
            )
            for i, part in enumerate(attention)
        )
        return cls(**_counts(value, ("weight_bytes", "layer_flops", "head_flops"), where, ""), attention=parts)


def _counts(value: Any, names: tuple[str, ...], where: str, prefix: str) -> dict[str, int]:
    found = value if isinstance(value, dict) else {}
    for name in names:
        if type(found.get(name)) is not int or not 0 <= found[name] < 1 << 63:
            raise _wrong(where, prefix + name, "a whole number of at least 0")
    return {name: found[name] for name in names}


def _wrong(where: str, field: str, kind: str) -> BundleError:
    return BundleError(f"{where}: field cost.{field} is missing or not {kind}: make it again with duomem compile")
