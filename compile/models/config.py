"""What a Llama-family config.json says, checked and completed, and which stored tensors it implies.

Needs neither TVM nor torch, so that the command can read a model before starting anything heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from duomem.base.errors import UserError

_LLAMA3_ROPE = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


@dataclass(frozen=True)
class Weight:
    """One parameter of the compiled model, in MLC's name without its suffix, and where it comes from.

    `sources` are Hugging Face tensors, stacked along rows. `shape` is [N, K] for a matrix (multiplied
    as x @ W.T and quantised) and [N] for a vector (kept in float32).
    """

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LlamaConfig:
    """A Llama decoder's sizes. Zero means "the usual": filled in on creation."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    num_key_value_heads: int = 0
    head_dim: int = 0
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] = field(default_factory=dict)
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        fill = object.__setattr__
        if not self.num_key_value_heads:
            fill(self, "num_key_value_heads", self.num_attention_heads)
        if not self.head_dim:
            fill(self, "head_dim", self.hidden_size // self.num_attention_heads)
        fill(self, "eos_token_ids", tuple(self.eos_token_ids))

    @property
    def qkv_size(self) -> int:
        """Rows of the fused query, key and value projection."""
        return (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of float32 keys and values one token adds to the cache."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim * 4

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; `LlamaConfig(**value)` is the way back."""
        return asdict(self)

    @classmethod
    def from_hf(cls, value: Mapping[str, Any], where: str) -> LlamaConfig:
        """Read a config.json of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).

        `where` names the file in errors. Raises UserError on a missing or wrong field and on variants
        the decoder does not compute (biases, other activations, other rope types).
        """
        for name in ("attention_bias", "mlp_bias"):
            if value.get(name):
                raise UserError(
                    f"{where}: field {name} is true: duomem compiles Llama models without biases only"
                )
        if value.get("hidden_act", "silu") != "silu":
            raise UserError(
                f"{where}: field hidden_act is {value['hidden_act']!r}: duomem compiles silu only"
            )
        theta, scaling = _rope(value, where)
        eos = value.get("eos_token_id")
        config = cls(
            **{
                name: _positive(value, name, where)
                for name in (
                    "hidden_size",
                    "intermediate_size",
                    "num_hidden_layers",
                    "num_attention_heads",
                    "vocab_size",
                )
            },
            **{
                name: _positive(value, name, where)
                for name in ("num_key_value_heads", "head_dim", "max_position_embeddings")
                if value.get(name) is not None
            },
            rms_norm_eps=float(value.get("rms_norm_eps", 1e-6)),
            rope_theta=theta,
            rope_scaling=scaling,
            tie_word_embeddings=bool(value.get("tie_word_embeddings", False)),
            bos_token_id=value.get("bos_token_id"),
            eos_token_ids=tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,),
        )
        if config.num_attention_heads % config.num_key_value_heads:
            raise UserError(
                f"{where}: field num_key_value_heads does not divide num_attention_heads: fix the file"
            )
        return config

    def weights(self) -> Iterator[Weight]:
        """Every parameter of the model in MLC's names and order; a tied head is stored once."""
        hidden, inner = self.hidden_size, self.intermediate_size
        yield Weight("model.embed_tokens", ("model.embed_tokens.weight",), (self.vocab_size, hidden))
        for i in range(self.num_hidden_layers):
            layer = f"model.layers.{i}."
            attention, mlp = layer + "self_attn.", layer + "mlp."
            qkv = tuple(f"{attention}{x}_proj.weight" for x in "qkv")
            yield Weight(attention + "qkv_proj", qkv, (self.qkv_size, hidden))
            heads = self.num_attention_heads * self.head_dim
            yield Weight(attention + "o_proj", (attention + "o_proj.weight",), (hidden, heads))
            gate_up = tuple(f"{mlp}{x}_proj.weight" for x in ("gate", "up"))
            yield Weight(mlp + "gate_up_proj", gate_up, (2 * inner, hidden))
            yield Weight(mlp + "down_proj", (mlp + "down_proj.weight",), (hidden, inner))
            for norm in ("input_layernorm", "post_attention_layernorm"):
                yield Weight(layer + norm, (layer + norm + ".weight",), (hidden,))
        yield Weight("model.norm", ("model.norm.weight",), (hidden,))
        if not self.tie_word_embeddings:
            yield Weight("lm_head", ("lm_head.weight",), (self.vocab_size, hidden))

    def source_rows(self, source: str) -> int:
        """Rows of the Hugging Face tensor `source` inside its fused matrix."""
        kind = source.split(".")[-2]
        rows = {
            "q_proj": self.num_attention_heads * self.head_dim,
            "k_proj": self.num_key_value_heads * self.head_dim,
            "v_proj": self.num_key_value_heads * self.head_dim,
            "gate_proj": self.intermediate_size,
            "up_proj": self.intermediate_size,
            "embed_tokens": self.vocab_size,
            "lm_head": self.vocab_size,
        }
        return rows.get(kind, self.hidden_size)


def _positive(value: Mapping[str, Any], name: str, where: str) -> int:
    number = value.get(name)
    if type(number) is not int or number < 1:
        raise UserError(
            f"{where}: field {name} is missing or not a positive integer: give a complete model folder"
        )
    return number


def _rope(value: Mapping[str, Any], where: str) -> tuple[float, dict[str, Any]]:
    """(theta, scaling) from either layout. transformers 5 keeps both in rope_parameters."""
    scaling = value.get("rope_parameters") or value.get("rope_scaling") or {}
    if not isinstance(scaling, Mapping):
        raise UserError(f"{where}: field rope_parameters is not an object: give a complete model folder")
    theta = scaling.get("rope_theta") or value.get("rope_theta") or 10000.0
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "default":
        return float(theta), {}
    if kind == "llama3":
        missing = [name for name in _LLAMA3_ROPE if name not in scaling]
        if missing:
            raise UserError(
                f"{where}: field rope_parameters lacks {missing[0]}: give a complete model folder"
            )
        return float(theta), {"rope_type": "llama3"} | {name: scaling[name] for name in _LLAMA3_ROPE}
    raise UserError(f"{where}: rope type {kind!r}: duomem compiles the types default and llama3 only")
