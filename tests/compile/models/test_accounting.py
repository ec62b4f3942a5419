"""The accounting against independent counts: the bytes really written, and the operations of a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from duomem.compile.models.accounting import decoder_cost
from duomem.compile.models.config import DecoderConfig, Weight
from duomem.compile.weights.mlc_layout import write_weights
from duomem.compile.weights.quantize import store
from duomem.device.engine.schemes import SCHEMES
from duomem.device.engine.weights import read_tensor_cache

BASE = DecoderConfig(64, 96, 3, 4, 50, num_key_value_heads=2, head_dim=32, max_position_embeddings=64)
CONFIGS = {
    "untied": BASE,
    "tied": DecoderConfig(64, 96, 3, 4, 50, 2, 32, 64, tie_word_embeddings=True),
    "biases": DecoderConfig(64, 96, 3, 4, 50, 2, 32, 64, qkv_bias=True, stored_qkv=("c_attn",)),
    "gemma": DecoderConfig(
        64,
        96,
        3,
        4,
        50,
        2,
        32,
        64,
        tie_word_embeddings=True,
        qk_norm=True,
        sandwich_norms=True,
        sliding_window=5,
        sliding_layers=(True, False, True),
    ),
}


def _blocks(rng: np.random.Generator, weight: Weight) -> Callable[[], Iterator[np.ndarray]]:
    values = rng.normal(size=weight.shape).astype(np.float32)
    return lambda: iter([values])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", CONFIGS)
def test_weight_bytes_are_what_a_pass_reads_of_the_files(tmp_path: Path, name: str, scheme: str) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(0)
    tensors = [t for w in config.weights() for t in store(w, _blocks(rng, w), scheme)]
    write_weights(tensors, tmp_path)
    records = read_tensor_cache(tmp_path).values()
    looked_up = 0 if config.tie_word_embeddings else sum(r.nbytes for r in records if "embed_tokens" in r.name)
    assert decoder_cost(config, scheme, 4).weight_bytes == sum(r.nbytes for r in records) - looked_up


class _Counter:
    """A decoder's matrix products and attention in numpy, the operations counted as they are done."""

    def __init__(self, config: DecoderConfig) -> None:
        self.config, self.flops, self.kv_bytes = config, 0, 0
        rng = np.random.default_rng(1)
        self.weights = {w.name: rng.normal(size=w.shape) for w in config.weights()}

    def multiply(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        self.flops += 2 * x.shape[0] * w.shape[0] * w.shape[1]
        return x @ w.T

    def run(self, tokens: int, context: int) -> None:
        """One call over `tokens` tokens that follow `context` others; logits of the last."""
        c = self.config
        x = np.ones((tokens, c.hidden_size))
        for i in range(c.num_hidden_layers):
            self.layer(x, i, context)
        head = self.weights["model.embed_tokens" if c.tie_word_embeddings else "lm_head"]
        self.multiply(x[-1:], head)

    def layer(self, x: np.ndarray, i: int, context: int) -> None:
        c, prefix = self.config, f"model.layers.{i}."
        qkv = [self.weights[f"{prefix}self_attn.{name}"] for name in c.stored_qkv]
        self.multiply(x, np.concatenate(qkv))
        for query in range(context, context + len(x)):
            keys = [k for k in range(query + 1) if not c.window(i) or k > query - c.window(i)]
            self.kv_bytes += len(keys) * 2 * c.num_key_value_heads * c.head_dim * 4
            for _head in range(c.num_attention_heads):
                scores = self.multiply(np.ones((1, c.head_dim)), np.ones((len(keys), c.head_dim)))
                self.multiply(scores, np.ones((c.head_dim, len(keys))))
        self.multiply(np.ones((len(x), c.q_size)), self.weights[prefix + "self_attn.o_proj"])
        gate_up = self.multiply(x, self.weights[prefix + "mlp.gate_up_proj"])
        self.multiply(gate_up[:, : c.intermediate_size], self.weights[prefix + "mlp.down_proj"])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("tokens", "context"), [(1, 0), (9, 0), (1, 12), (3, 7)])
def test_flops_are_those_of_a_forward_pass(name: str, tokens: int, context: int) -> None:
    counter = _Counter(CONFIGS[name])
    counter.run(tokens, context)
    counted = decoder_cost(CONFIGS[name], "q4f32_1", 4)
    assert counted.prefill_flops(tokens, context) == counter.flops
    if tokens == 1:
        assert counted.decode_flops(context) == counter.flops
        assert counted.decode_bytes(context) == counted.weight_bytes + counter.kv_bytes
