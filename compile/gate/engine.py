"""The gate's engine process: `python -m duomem.compile.gate.engine JOB.json`, one compiled library as a device runs it.

Reads the job (see gate) and what the reference process wrote beside it; writes JOB.result.json. Needs no torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.gate.job import run_job
from duomem.compile.gate.steps import Choices, RecordedEpisode
from duomem.device.agent.constrained_decoding import log_softmax
from duomem.device.engine.bundle import ALL_CHUNK, Bundle
from duomem.device.engine.tvm_engine import TvmEngine, TvmSession


def measure(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the library computes on the parity prompts and the steps.

    Of the logits, by each way of feeding tokens, the largest difference from the reference and the mean KL divergence
    in nats, over all prompts; the drift from the original model; the choices on the steps.
    """
    original, expected = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("original", "expected"))
    prompts = job["prompts"]
    episodes = [RecordedEpisode.from_json(value) for value in job["episodes"]]
    longest = max(2 * max(map(len, prompts)), *(len(episode.tokens) for episode in episodes), 0)
    bundle = Bundle(Path(job["bundle"]), job["manifest"])
    length = min(bundle.context_length, longest)
    engine = TvmEngine.open(bundle, job["device"], context_length=length, max_sessions=2, library=job["library"])
    worst: dict[str, float] = {}
    divergences: dict[str, list[np.ndarray]] = {}
    measured = []
    begin = 0
    for tokens in prompts:
        reference = expected[begin : begin + len(tokens)]
        begin += len(tokens)
        measured.append(_all_logits(engine, tokens))
        fed = _fed(engine, tokens, reference) | {"all": (measured[-1], reference)}
        for name, (logits, wanted) in fed.items():
            worst[name] = max(_distance(logits, wanted), worst.get(name, 0.0))
            divergences.setdefault(name, []).append(np.atleast_1d(_kl(logits, wanted)))
    return {
        "max_abs_diff_by_step": worst,
        "divergence_by_step": {name: _mean(np.concatenate(found)) for name, found in divergences.items()},
        "drift": _drift(original, np.concatenate(measured)),
        "choices": vars(_choices(engine, episodes)),
    }


def _all_logits(engine: TvmEngine, tokens: list[int]) -> np.ndarray:
    session = engine.session()
    logits = session.prefill_all(tokens)
    session.close()
    return logits


def _fed(engine: TvmEngine, tokens: list[int], reference: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Logits after each way of feeding `tokens`, and those of `reference` [n, vocab] at the same places."""
    n, third = len(tokens), len(tokens) // 3
    session = engine.session()
    fed = {"prefill": (session.prefill(tokens), reference[-1])}
    session.rollback(n)
    pieces = [session.prefill(tokens[a:b]) for a, b in ((0, third), (third, 2 * third), (2 * third, n))]
    fed["chunked_prefill"] = (np.stack(pieces), reference[[third - 1, 2 * third - 1, n - 1]])
    session.rollback(n - third)
    fed["rollback_decode"] = (_decode(session, tokens[third:]), reference[third:])
    child = session.fork()
    child.rollback(n - 2 * third)
    fed["fork_decode"] = (_decode(child, tokens[2 * third :]), reference[2 * third :])
    child.rollback(n - third)
    fed["fork_prefill"] = (child.prefill(tokens[third:]), reference[-1])
    child.close()
    session.rollback(1)
    fed["after_fork"] = (session.decode(tokens[-1]), reference[-1])
    session.close()
    return fed


def _decode(session: TvmSession, tokens: list[int]) -> np.ndarray:
    return np.stack([session.decode(token) for token in tokens])


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest absolute difference; the largest float if either holds a NaN, so that no comparison passes it."""
    distance = float(np.abs(a - b).max())
    return distance if np.isfinite(distance) else sys.float_info.max


def _kl(compiled: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """KL divergence of logits [..., vocab] from a reference's, in nats, [...]."""
    p, q = log_softmax(reference), log_softmax(compiled)
    return np.sum(np.exp(p) * (p - q), axis=-1)


def _mean(divergences: np.ndarray) -> float:
    """Their mean; the largest float if one is no number, so that no comparison passes it."""
    mean = float(np.mean(divergences))
    return mean if np.isfinite(mean) else sys.float_info.max


def mean_kl(compiled: np.ndarray, reference: np.ndarray) -> float:
    """Mean KL divergence of logits [..., vocab] from a reference's, in nats; the largest float if it is no number."""
    return _mean(_kl(compiled, reference))


def _drift(original: np.ndarray, compiled: np.ndarray) -> dict[str, float]:
    same = original.argmax(-1) == compiled.argmax(-1)
    return {"mean_kl": mean_kl(compiled, original), "top1_agreement": float(np.mean(same))}


def _choices(engine: TvmEngine, episodes: list[RecordedEpisode]) -> Choices:
    choices = Choices()
    if not episodes:
        return choices
    root = engine.session()
    root.prefill(episodes[0].tokens[: episodes[0].shared])
    for episode in episodes:
        session = root.fork()
        wanted, kept = set(episode.rows), []
        for i in range(episode.shared, len(episode.tokens), ALL_CHUNK):
            logits = session.prefill_all(episode.tokens[i : i + ALL_CHUNK])
            kept += [row for place, row in enumerate(logits, i) if place in wanted]
        session.close()
        rows = iter(kept)
        for step in episode.steps:
            choices.add(step, np.stack([next(rows) for _ in step.rows]))
    root.close()
    return choices


if __name__ == "__main__":
    run_job(measure)
