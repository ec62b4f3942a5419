"""What training a student will take on a GPU: estimates from its dimensions, not measurements.

Memory: weights in their type, 16 bytes for each trained parameter (fp32 weight, gradient and Adam's two moments), and
what a micro-batch keeps for the backward pass, counted tensor by tensor as in Korthikanti et al. 2022
(arXiv 2205.05198), with fused attention (Gemma 2's is not, it takes more), without recomputation. Time: 2 operations
a weight and token forward, as many backward for the activations (the frozen weights need no gradients), at a share of
the GPU's peak.
"""

from __future__ import annotations

from dataclasses import dataclass

from duomem.train.architecture import Architecture
from duomem.train.config import StudentConfig
from duomem.train.precision import AUTO

EPISODE_TOKENS = 450
"""Mean tokens of a training episode, those of the shipped run (SmolLM2's tokenizer, a third of the tasks synthetic)."""
ACTION_SHARE = 0.2
"""Share of them that the student writes: only those reach the head."""
UTILISATION = 0.35
"""Assumed share of a GPU's peak that training reaches."""
SPARE = 1.5e9
"""Bytes for the driver's context and the allocator's slack."""
_TRAINED_BYTES = 16
_ACTIVATION_BYTES = {AUTO: 2, "bfloat16": 2, "float32": 4}
_LOGIT_BYTES = 12
"""A logit in fp32, its copy as a probability and its gradient."""


@dataclass(frozen=True)
class GpuSpec:
    """flops: peak of dense bfloat16 products with fp32 sums, operations a second; memory: bytes. Data sheets."""

    name: str
    flops: float
    memory: float


GPUS = (
    GpuSpec("L4", 121e12, 24e9),
    GpuSpec("RTX 3090", 71e12, 24e9),
    GpuSpec("RTX 4090", 165e12, 24e9),
    GpuSpec("A100", 312e12, 80e9),
    GpuSpec("H100", 989e12, 80e9),
    GpuSpec("H200", 989e12, 141e9),
)


def training_memory(architecture: Architecture, config: StudentConfig) -> float:
    """Bytes on each GPU."""
    width = _ACTIVATION_BYTES[config.dtype]
    trained = architecture.trainable(config.rank, config.target_modules)
    head = config.micro_batch_tokens * ACTION_SHARE * architecture.vocab_size * _LOGIT_BYTES
    kept = config.micro_batch_tokens * architecture.num_hidden_layers * activation_values(architecture) * width
    return architecture.parameters * width + trained * _TRAINED_BYTES + kept + head + SPARE


def activation_values(architecture: Architecture) -> int:
    """Values a layer keeps for each token: what goes into and out of both norms, queries, keys and values before and
    after rotation, the attention's output, and the feed-forward's gate, its activation, the other half and the product.
    """
    rows = {name: shape[0] for name, shape in architecture.projections.items()}
    turned = 2 * (rows["q_proj"] + rows["k_proj"]) + rows["v_proj"]
    return 4 * architecture.hidden_size + turned + rows["q_proj"] + 4 * architecture.intermediate_size


def training_tokens(config: StudentConfig) -> int:
    """Tokens of the whole run, if its steps end it."""
    return config.max_steps * config.batch_size * EPISODE_TOKENS


def training_flops(architecture: Architecture, config: StudentConfig) -> float:
    """Operations of the whole run."""
    weights = architecture.layer_parameters + ACTION_SHARE * architecture.head_parameters
    return 4 * (weights + architecture.trainable(config.rank, config.target_modules)) * training_tokens(config)


def training_hours(architecture: Architecture, config: StudentConfig, gpu: GpuSpec) -> float | None:
    """Hours on one such GPU, None if it has too little memory."""
    if training_memory(architecture, config) > gpu.memory:
        return None
    return training_flops(architecture, config) / (UTILISATION * gpu.flops) / 3600
