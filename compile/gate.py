"""The parity gate: a compiled bundle must compute what transformers computes, or it is not written.

Probes every way the agent drives the engine: prefill whole and in pieces, decode, fork, rollback.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from duomem.base.errors import UserError
from duomem.base.progress import progress
from duomem.compile.checkpoint import Checkpoint
from duomem.compile.models.config import Weight
from duomem.compile.quantise import dequantise_int4
from duomem.compile.reference import load_reference, set_weight
from duomem.device.bundle import Bundle
from duomem.device.engine import TvmEngine, TvmSession
from duomem.device.scoring import log_softmax
from duomem.device.weights import read_tensor_cache

BOUND = 1e-3
"""Largest allowed difference of a logit."""

_PROBES = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 2, a cabinet 1, "
    "a coffeemachine 1, a countertop 1, a drawer 3, a fridge 1, a garbagecan 1, a microwave 1, "
    "a sinkbasin 1, and a toaster 1.\n\nYour task is to: put a clean mug in coffeemachine.\n\n"
    "> go to cabinet 1\nThe cabinet 1 is closed.\n> open cabinet 1\nYou open the cabinet 1. "
    "The cabinet 1 is open. In it, you see a mug 1.\n> take mug 1 from cabinet 1",
    "The capital of France is Paris. Water boils at 100 degrees Celsius at sea level, and freezes at "
    "zero. A recipe for bread needs flour, water, salt and yeast; knead the dough, let it rise, and "
    "bake it until brown.",
    "def area(radius):\n    return 3.14159 * radius ** 2\n\nprint(area(2))\n",
)
_LONGEST = 192


def check_parity(bundle: Bundle, checkpoint: Checkpoint) -> dict[str, Any]:
    """Compare the bundle's logits with transformers' in float32, on the probes; returns the figures.

    The reference of a quantised bundle is the same model with each weight replaced by its dequantised
    value, as read back from the bundle; its drift from the original model (mean KL divergence in nats
    and share of equal best tokens, over all probe positions) is reported, not judged.
    Raises UserError if any logit differs by BOUND or more.
    """
    import torch
    import transformers

    probes = _probe_tokens(bundle)
    model = load_reference(checkpoint)
    original = [_reference(model, tokens) for tokens in probes]
    if bundle.quantisation != "q0f32":
        for weight, array in _dequantised(bundle, checkpoint):
            set_weight(model, checkpoint.config, weight, array)
    worst: dict[str, float] = {}
    measured = []
    engine = TvmEngine(bundle, context_length=min(bundle.context_length, 2 * _LONGEST), max_sessions=2)
    for tokens in progress(probes, "parity gate", unit="probe"):
        reference = _reference(model, tokens)
        measured.append(_all_logits(engine, tokens))
        differences = _compare(engine, tokens, reference) | {"all": _distance(measured[-1], reference)}
        worst = {name: max(value, worst.get(name, 0.0)) for name, value in differences.items()}
    largest = max(worst.values())
    if not largest < BOUND:
        shown = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
        raise UserError(
            f"parity gate: the compiled logits differ from transformers' by {largest:.2e}, the bound is "
            f"{BOUND:g} ({shown}): no bundle was written, report this with the model's config.json"
        )
    return {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
        "probe_tokens": sum(map(len, probes)),
        "bound": BOUND,
        "max_abs_diff": largest,
        "max_abs_diff_by_step": worst,
        "drift": _drift(np.concatenate(original), np.concatenate(measured)),
    }


def _probe_tokens(bundle: Bundle) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(bundle.tokenizer_file))
    longest = min(_LONGEST, bundle.context_length)
    probes = [tokenizer.encode(text, add_special_tokens=False).ids[:longest] for text in _PROBES]
    bad = [i for tokens in probes for i in tokens if i >= bundle.vocab_size]
    if bad or min(map(len, probes)) < 8:
        raise UserError(f"{bundle.tokenizer_file}: is not this model's tokenizer: save both into one folder")
    return probes


def _reference(model: Any, tokens: list[int]) -> np.ndarray:
    """float32 logits [n, vocab] of transformers."""
    import torch

    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0].numpy()


def _dequantised(bundle: Bundle, checkpoint: Checkpoint) -> Iterator[tuple[Weight, np.ndarray]]:
    """The float32 value of each matrix stored in 4 bits."""
    records = read_tensor_cache(bundle.model_dir)
    for weight in checkpoint.config.weights():
        if weight.name + ".q_weight" in records:
            q, scale = (records[weight.name + end].load() for end in (".q_weight", ".q_scale"))
            yield weight, dequantise_int4(q, scale)


def _all_logits(engine: TvmEngine, tokens: list[int]) -> np.ndarray:
    session = engine.session()
    logits = session.prefill_all(tokens)
    session.close()
    return logits


def _compare(engine: TvmEngine, tokens: list[int], reference: np.ndarray) -> dict[str, float]:
    """Largest difference from `reference` [n, vocab] for each way of feeding `tokens`."""
    n, third = len(tokens), len(tokens) // 3
    session = engine.session()
    worst = {"prefill": _distance(session.prefill(tokens), reference[-1])}
    session.rollback(n)
    pieces = [session.prefill(tokens[a:b]) for a, b in ((0, third), (third, 2 * third), (2 * third, n))]
    worst["chunked_prefill"] = _distance(np.stack(pieces), reference[[third - 1, 2 * third - 1, n - 1]])
    session.rollback(n - third)
    worst["rollback_decode"] = _distance(_decode(session, tokens[third:]), reference[third:])
    child = session.fork()
    child.rollback(n - 2 * third)
    worst["fork_decode"] = _distance(_decode(child, tokens[2 * third :]), reference[2 * third :])
    child.rollback(n - third)
    worst["fork_prefill"] = _distance(child.prefill(tokens[third:]), reference[-1])
    child.close()
    session.rollback(1)
    worst["after_fork"] = _distance(session.decode(tokens[-1]), reference[-1])
    session.close()
    return worst


def _decode(session: TvmSession, tokens: list[int]) -> np.ndarray:
    return np.stack([session.decode(token) for token in tokens])


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest absolute difference; infinite if either holds a NaN, so that no comparison passes it."""
    distance = float(np.abs(a - b).max())
    return distance if np.isfinite(distance) else float("inf")


def _drift(original: np.ndarray, compiled: np.ndarray) -> dict[str, float]:
    p, q = log_softmax(original), log_softmax(compiled)
    return {
        "mean_kl": float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1))),
        "top1_agreement": float(np.mean(original.argmax(-1) == compiled.argmax(-1))),
    }
