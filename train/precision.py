"""Which floating-point type a training run computes in: bfloat16 only where the machine multiplies it faster.

Without instructions for it a CPU's bfloat16 products take four times as long as its float32 ones.
"""

from __future__ import annotations

from collections.abc import Collection

from duomem.core.cpu import cpu_features

AUTO = "auto"
BFLOAT16_FEATURES = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""CPU features, as Linux names them, any of which multiplies bfloat16 directly."""


def training_dtype(dtype: str) -> str:
    """The type to train in here: "bfloat16" or "float32" as asked, or for AUTO the faster one of a GPU or this CPU."""
    if dtype != AUTO:
        return dtype
    import torch

    return "bfloat16" if torch.cuda.is_available() else fast_dtype(cpu_features() or ())


def fast_dtype(features: Collection[str]) -> str:
    """The faster type on a CPU of these features."""
    return "float32" if BFLOAT16_FEATURES.isdisjoint(features) else "bfloat16"
