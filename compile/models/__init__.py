"""The architectures duomem compiles: for each, its config class and the module that holds its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from duomem.base.errors import UserError
from duomem.compile.models.config import LlamaConfig


@dataclass(frozen=True)
class Family:
    """A model family. `decoder` is imported by the build process only: it needs the TVM compiler."""

    name: str
    config: type[LlamaConfig]
    decoder: str


FAMILIES = {"LlamaForCausalLM": Family("llama", LlamaConfig, "duomem.compile.models.llama")}


def architecture_of(config: Mapping[str, Any], where: str) -> str:
    """The config.json's architecture. Raises UserError, naming the supported ones, if it is another."""
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in FAMILIES:
        raise UserError(f"{where}: architecture {name!r} is not supported: use one of {', '.join(FAMILIES)}")
    return name
