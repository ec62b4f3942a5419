"""What a decoder computes and which stored tensors it takes: one description for every family.

Needs neither TVM nor torch, so that the command can read a model before starting anything heavy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from duomem.core.errors import ModelError

_SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""The rope types and what each takes."""
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_LAYER_TYPES = {"sliding_attention": True, "full_attention": False}


@dataclass(frozen=True)
class Weight:
    """A stored parameter, in MLC's name, and the tensors of the Hugging Face folder it is made of.

    `sources` are stacked along rows and `offset` is added to every value. `shape` is [N, K] for a matrix
    (multiplied as x @ W.T, quantized, its stored names end in what the scheme adds to `name`) and [N] for
    a vector (never quantized, `name` is its stored name).
    """

    name: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    offset: float = 0.0

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) == 2


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder: pre-norm attention with rotary positions, gated feed-forward, RMS norms.

    Zero means "the usual", filled in on creation, for num_key_value_heads, head_dim and attention_scale, and
    "none" for soft caps, sliding_window and local_rope_theta.

    activation: of the gate, "silu" or "gelu_tanh". qkv_bias: query, key and value projections add a bias.
    qk_norm: queries and keys are RMS-normed per head before rotation. attention_scale: factor of the scores.
    A soft cap c makes x into c tanh(x / c): attention_softcap of the scores (after the scale, before the
    mask), final_softcap of the logits. sliding_layers: per layer, whether a query at position i sees only
    the keys j with i - sliding_window < j <= i. local_rope_theta: base of those layers' rotation, which is
    never scaled; rope_scaling: "rope_type" "llama3" or "linear" with its factors. embedding_scale: factor of
    the embedding's rows. norm_offset: added to every norm's weights when they are read from the folder, so
    that stored norms are plain ones, as MLC stores them. sandwich_norms: the outputs of attention and
    feed-forward are normed too, before they are added.

    stored_prefix and stored_qkv: how MLC names this family's parameters (see `stored_names`).
    """

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
    qkv_bias: bool = False
    qk_norm: bool = False
    activation: str = "silu"
    attention_scale: float = 0.0
    attention_softcap: float = 0.0
    final_softcap: float = 0.0
    sliding_window: int = 0
    sliding_layers: tuple[bool, ...] = ()
    local_rope_theta: float = 0.0
    embedding_scale: float = 1.0
    norm_offset: float = 0.0
    sandwich_norms: bool = False
    stored_prefix: str = ""
    stored_qkv: tuple[str, ...] = ("qkv_proj",)

    def __post_init__(self) -> None:
        fill = object.__setattr__
        if not self.num_key_value_heads:
            fill(self, "num_key_value_heads", self.num_attention_heads)
        if not self.head_dim:
            fill(self, "head_dim", self.hidden_size // self.num_attention_heads)
        if not self.attention_scale:
            fill(self, "attention_scale", self.head_dim**-0.5)
        if not self.sliding_layers:
            fill(self, "sliding_layers", (False,) * self.num_hidden_layers)
        for name in ("eos_token_ids", "sliding_layers", "stored_qkv"):
            fill(self, name, tuple(getattr(self, name)))

    @property
    def q_size(self) -> int:
        """Rows of the query projection."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Rows of the key projection, and of the value projection."""
        return self.num_key_value_heads * self.head_dim

    @property
    def qkv_size(self) -> int:
        """Rows of the fused query, key and value projection."""
        return self.q_size + 2 * self.kv_size

    @property
    def kv_values_per_token(self) -> int:
        """Elements of keys and values that one token adds to the cache."""
        return 2 * self.num_hidden_layers * self.kv_size

    def window(self, layer: int) -> int:
        """The layer's sliding window in tokens, 0 if it sees them all."""
        return self.sliding_window if self.sliding_layers[layer] else 0

    def rope(self, layer: int) -> tuple[float, dict[str, Any]]:
        """The layer's (theta, scaling)."""
        if self.sliding_layers[layer] and self.local_rope_theta:
            return self.local_rope_theta, {}
        return self.rope_theta, self.rope_scaling

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; `DecoderConfig(**value)` is the way back."""
        return asdict(self)

    def stored_names(self, parameter: str) -> tuple[str, ...]:
        """The stored tensors that, stacked along their output rows, are the library's `parameter`."""
        path, fused, end = parameter.partition("qkv_proj.")
        if not fused:
            return (self.stored_prefix + parameter,)
        return tuple(f"{self.stored_prefix}{path}{name}.{end}" for name in self.stored_qkv)

    def weights(self) -> Iterator[Weight]:
        """Every stored parameter of the model in MLC's names and order; a tied head is stored once."""
        hidden = self.hidden_size
        yield self._matrix("model.embed_tokens", self.vocab_size, hidden)
        for i in range(self.num_hidden_layers):
            layer = f"model.layers.{i}."
            attention, mlp = layer + "self_attn.", layer + "mlp."
            yield from self._qkv(attention, "weight")
            if self.qkv_bias:
                yield from self._qkv(attention, "bias")
            yield self._matrix(attention + "o_proj", hidden, self.q_size)
            if self.qk_norm:
                yield self._norm(attention + "q_norm", self.head_dim)
                yield self._norm(attention + "k_norm", self.head_dim)
            gate_up = tuple(f"{mlp}{x}_proj.weight" for x in ("gate", "up"))
            yield self._matrix(mlp + "gate_up_proj", 2 * self.intermediate_size, hidden, gate_up)
            yield self._matrix(mlp + "down_proj", hidden, self.intermediate_size)
            yield self._norm(layer + "input_layernorm", hidden)
            yield self._norm(layer + "post_attention_layernorm", hidden)
            if self.sandwich_norms:
                yield self._norm(layer + "pre_feedforward_layernorm", hidden)
                yield self._norm(layer + "post_feedforward_layernorm", hidden)
        yield self._norm("model.norm", hidden)
        if not self.tie_word_embeddings:
            yield self._matrix("lm_head", self.vocab_size, hidden)

    def _matrix(self, name: str, n: int, k: int, sources: tuple[str, ...] = ()) -> Weight:
        return Weight(self.stored_prefix + name, sources or (name + ".weight",), (n, k))

    def _norm(self, name: str, n: int) -> Weight:
        return Weight(f"{self.stored_prefix}{name}.weight", (name + ".weight",), (n,), self.norm_offset)

    def _qkv(self, attention: str, kind: str) -> Iterator[Weight]:
        """The query, key and value projections, or their biases, as this family stores them."""
        sources = tuple(f"{attention}{x}_proj.{kind}" for x in "qkv")
        groups = [sources] if len(self.stored_qkv) == 1 else [(source,) for source in sources]
        end, columns = ("", (self.hidden_size,)) if kind == "weight" else (".bias", ())
        for name, group in zip(self.stored_qkv, groups, strict=True):
            rows = sum(map(self.source_rows, group))
            yield Weight(f"{self.stored_prefix}{attention}{name}{end}", group, (rows, *columns))

    def source_rows(self, source: str) -> int:
        """Rows of the Hugging Face tensor `source`."""
        kind = source.split(".")[-2]
        rows = {
            "q_proj": self.q_size,
            "k_proj": self.kv_size,
            "v_proj": self.kv_size,
            "q_norm": self.head_dim,
            "k_norm": self.head_dim,
            "gate_proj": self.intermediate_size,
            "up_proj": self.intermediate_size,
            "embed_tokens": self.vocab_size,
            "lm_head": self.vocab_size,
        }
        return rows.get(kind, self.hidden_size)


class Reader:
    """A config.json seen with its family's defaults; `where` names the file in errors."""

    def __init__(self, value: Mapping[str, Any], where: str, defaults: Mapping[str, Any]) -> None:
        self.value, self.where = {**defaults, **value}, where
        if self.value.get("quantization_config"):
            raise self.error("quantization_config", "is set: give the model's unquantized folder")

    def error(self, name: str, problem: str) -> ModelError:
        return ModelError(f"{self.where}: field {name} {problem}")

    def refuse(self, *names: str) -> None:
        """Raise ModelError if one of the switches is on: variants the decoder does not compute."""
        for name in names:
            if self.value.get(name):
                raise self.error(name, f"is {self.value[name]!r}: duomem does not compile this variant")

    def integer(self, name: str) -> int:
        number = self.value.get(name)
        if type(number) is not int or number < 1:
            raise self.error(name, "is missing or not a positive integer: give a complete model folder")
        return number

    def real(self, name: str, within: Mapping[str, Any] | None = None) -> float:
        """A positive number, 0.0 if the field is absent or null; `within` an object of the file."""
        number = (self.value if within is None else within).get(name)
        if number is None:
            return 0.0
        if type(number) not in (int, float) or not 0 < number < float("inf"):
            raise self.error(name, "is not a positive number: give a complete model folder")
        return float(number)

    def tokens(self, name: str) -> tuple[int, ...]:
        """The token ids of a field that holds one, a list of them, or null."""
        found = self.value.get(name)
        ids = found if isinstance(found, list) else [] if found is None else [found]
        if any(type(i) is not int or i < 0 for i in ids):
            raise self.error(name, "is not a token id: give a complete model folder")
        return tuple(ids)

    def activation(self, name: str) -> str:
        found = self.value.get(name)
        if found not in _ACTIVATIONS:
            raise self.error(name, f"is {found!r}: duomem compiles {' and '.join(_ACTIVATIONS)} only")
        return _ACTIVATIONS[found]

    def rope(self) -> Mapping[str, Any]:
        """The whole rope description, {} if there is none: transformers 5 calls it rope_parameters."""
        name = "rope_parameters" if self.value.get("rope_parameters") else "rope_scaling"
        found = self.value.get(name) or {}
        if not isinstance(found, Mapping) or not all(
            isinstance(part, Mapping) for key, part in found.items() if key in _LAYER_TYPES
        ):
            raise self.error(name, "is not an object: give a complete model folder")
        return found

    def scaling(self, rope: Mapping[str, Any]) -> dict[str, Any]:
        """DecoderConfig.rope_scaling of one rope description."""
        kind = rope.get("rope_type") or rope.get("type") or "default"
        needed = _SCALINGS.get(kind) if isinstance(kind, str) else None
        if needed is None:
            raise self.error("rope_type", f"is {kind!r}: duomem compiles the rope types {', '.join(_SCALINGS)} only")
        for name in needed:
            if not self.real(name, rope):
                raise self.error(f"{name} of the {kind} rope", "is missing: give a complete model folder")
        return {"rope_type": kind, **{name: rope[name] for name in needed}} if needed else {}

    def sliding(self, usual: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which layers slide, from layer_types, or the family's `usual` pattern without that field."""
        types = self.value.get("layer_types")
        if types is None:
            return usual
        if not isinstance(types, list) or len(types) != len(usual) or any(x not in _LAYER_TYPES for x in types):
            raise self.error("layer_types", f"is not {len(usual)} times one of {', '.join(_LAYER_TYPES)}: fix the file")
        return tuple(_LAYER_TYPES[x] for x in types)

    def config(self, **special: Any) -> DecoderConfig:
        """The fields every family has, and the `special` ones of this."""
        rope = self.rope()
        values: dict[str, Any] = {name: self.integer(name) for name in _SIZES}
        for name in ("num_key_value_heads", "head_dim"):
            if self.value.get(name) is not None:
                values[name] = self.integer(name)
        values |= {
            "max_position_embeddings": self.integer("max_position_embeddings"),
            "rms_norm_eps": self.real("rms_norm_eps"),
            "tie_word_embeddings": bool(self.value.get("tie_word_embeddings")),
            "bos_token_id": next(iter(self.tokens("bos_token_id")), None),
            "eos_token_ids": self.tokens("eos_token_id"),
        }
        if "rope_theta" not in special:
            theta = self.real("rope_theta", rope) or self.real("rope_theta") or 10000.0
            values |= {"rope_theta": theta, "rope_scaling": self.scaling(rope)}
        for share in (rope.get("partial_rotary_factor"), self.value.get("partial_rotary_factor")):
            if share not in (None, 1):
                raise self.error("partial_rotary_factor", f"is {share}: duomem rotates whole heads only")
        if "sliding_layers" not in special and any(self.sliding((False,) * values["num_hidden_layers"])):
            raise self.error("layer_types", "has sliding layers: duomem does not compute them in this family")
        config = DecoderConfig(**values | special)
        if config.num_attention_heads % config.num_key_value_heads:
            raise self.error("num_key_value_heads", "does not divide num_attention_heads: fix the file")
        if config.head_dim % 2:
            raise self.error("head_dim", f"is {config.head_dim}, an odd number: duomem rotates pairs")
        if any(config.sliding_layers) and not config.sliding_window:
            raise self.error("sliding_window", "is missing though layers slide: give a complete model folder")
        return config
