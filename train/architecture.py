"""A student's public dimensions, from which its parameters, memory and training time are reckoned before a download.

They stand in the student's TOML as table [architecture], in the names of its config.json.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from duomem.core.architectures import ARCHITECTURES
from duomem.core.errors import ConfigError
from duomem.core.files import read_toml

TABLE = "architecture"
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class Architecture:
    """A decoder; name: one of ARCHITECTURES (of a model that also sees, the text decoder's dimensions)."""

    name: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of a layer's matrices by name."""
        query, key = (heads * self.head_dim for heads in (self.num_attention_heads, self.num_key_value_heads))
        hidden, inner = self.hidden_size, self.intermediate_size
        return {
            "q_proj": (query, hidden),
            "k_proj": (key, hidden),
            "v_proj": (key, hidden),
            "o_proj": (hidden, query),
            "gate_proj": (inner, hidden),
            "up_proj": (inner, hidden),
            "down_proj": (hidden, inner),
        }

    @property
    def layer_parameters(self) -> int:
        """Weights in the matrices of all layers."""
        return self.num_hidden_layers * sum(rows * columns for rows, columns in self.projections.values())

    @property
    def head_parameters(self) -> int:
        """Weights of the output matrix."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """Weights in all matrices; norms and biases, less than a thousandth, are left out."""
        return self.layer_parameters + self.head_parameters * (1 if self.tie_word_embeddings else 2)

    def trainable(self, rank: int, target_modules: str) -> int:
        """Parameters of a LoRA of that rank: rank x (rows + columns) for each target of each layer. Raises
        UserError for a target that is none of the projections.
        """
        targets = list(self.projections) if target_modules == ALL_LINEAR else target_modules.split(",")
        for target in targets:
            if target not in self.projections:
                raise ConfigError(f"field target_modules: {target!r} is none of {', '.join(self.projections)}")
        return self.num_hidden_layers * rank * sum(sum(self.projections[target]) for target in targets)


def read_architecture(path: Path) -> Architecture | None:
    """The table of a student's TOML file, None without one. Raises ConfigError naming file and field."""
    table = read_toml(path, "student config").get(TABLE)
    if table is None:
        return None
    known = {field.name: {"str": str, "int": int, "bool": bool}[str(field.type)] for field in fields(Architecture)}
    if not isinstance(table, dict) or set(table) != set(known):
        raise ConfigError(f"{path}: table [{TABLE}] must hold {', '.join(known)}, and nothing else")
    for name, kind in known.items():
        if type(table[name]) is not kind or (kind is int and table[name] < 1):
            raise ConfigError(f"{path}: field {TABLE}.{name} must be a {'positive ' * (kind is int)}{kind.__name__}")
    if table["name"] not in ARCHITECTURES:
        raise ConfigError(f"{path}: field {TABLE}.name is {table['name']!r}: known are {', '.join(ARCHITECTURES)}")
    return Architecture(**table)
