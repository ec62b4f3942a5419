"""The parity gate: a compiled bundle must compute what transformers computes, or it is not written.

Parity prompts go through every way the agent drives the engine (prefill whole and in pieces, decode, fork, rollback);
then choices of actions are compared on recorded ALFWorld steps. Both sides run in processes of their own.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.gate.steps import STEPS_FILE, Choices, RecordedEpisode, compared, read_steps
from duomem.compile.weights.checkpoint import Checkpoint
from duomem.core.cpu import cpu_features
from duomem.core.errors import GateError
from duomem.core.files import read_json, sha256_file, write_json
from duomem.core.process import run_step, start_step
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.bundle import Bundle, Library
from duomem.device.engine.gpu import has_gpu
from duomem.device.engine.schemes import EXACT, SCHEMES

BOUND = 1e-3
"""Largest allowed difference of a logit."""

INT8_BOUND = 0.1
"""Largest allowed mean KL divergence, in nats, of a library that rounds its inputs to 8 bits from the reference.
SmolLM2-135M has 0.003, as llama.cpp with such inputs has; another model's weights give more than 1."""

CLEAR = 0.5
"""Nats by which the float32 model must prefer its choice, at every token, for the step to be judged. Closer
calls turn on the last digits of any rounding."""

MIN_STEPS = 20
"""Fewer clear steps than these judge nothing: one near-tie would decide."""

CERTAIN = 20 * BOUND
"""Nats by which the best library must prefer its choice, at every token, for the others to have to choose the same:
logits within BOUND of one another leave no doubt."""

TIME_LIMIT = 1800.0
"""Seconds for each process."""

_PROMPTS = (
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
_CHECKED = 32
"""Tokens, and at least as many logits after the last, that an engine checks a GPU with."""
_REFERENCE = (sys.executable, "-m", "duomem.compile.gate.reference")
_ENGINE = (sys.executable, "-m", "duomem.compile.gate.engine")
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TVM_THREAD_POOL_SPIN_COUNT": "0"}


class RoundingError(GateError):
    """A library that rounds its inputs to 8 bits is too far from the model; an exact one may not be."""


Judge = Callable[[Bundle, "float | None"], dict[str, Any]]


def check_parity(bundle: Bundle, checkpoint: Checkpoint, min_agreement: float | None = None) -> dict[str, Any]:
    """Compare the bundle with transformers' float32 model; returns the figures for bundle.json.

    Logits, on the parity prompts, are compared with the same model whose weights are replaced by the bundle's own,
    dequantized, for every library this machine can run: exact ones must give its logits, those that round their inputs
    to 8 bits its distribution. At least one has to be exact, or nothing shows that the model is right. The drift from
    the original model there (mean KL divergence in nats and share of equal best tokens, over all positions) is
    reported, not judged. Actions, on the recorded steps that fit the bundle's context, are compared with the original
    model's, for the best library, the CPU's where there is one. The other libraries, among them those for a GPU that
    may be a slow software rasterizer, take one episode of those steps, and must choose as the best one of their
    activations does wherever that is CERTAIN. min_agreement: share of clear steps on which the constrained choice must
    agree, 0..1, by default the scheme's own. Raises RoundingError if the best library rounds its inputs, and that may
    be why it fails; GateError if any logit of an exact library differs by BOUND or more, if fewer actions agree, if a
    stored weight is not a rounding of the model's, if no library can be run, and if a process crashes, fails or runs
    out of time.
    """
    with comparing(checkpoint, bundle.model_dir, bundle.quantization, bundle.context_length) as judge:
        return judge(bundle, min_agreement)


@contextlib.contextmanager
def comparing(
    checkpoint: Checkpoint,
    model_dir: Path,
    scheme: str,
    context: int,
    reference_command: tuple[str, ...] = _REFERENCE,
    engine_command: tuple[str, ...] = _ENGINE,
    time_limit: float = TIME_LIMIT,
) -> Iterator[Judge]:
    """Start the reference on the weights in `model_dir`, so that a library may be compiled meanwhile.

    What it gives is `check_parity` without the checkpoint: judge(bundle, min_agreement). Leaving the `with`
    stops the reference. context: tokens. time_limit: seconds for each process. Raises GateError.
    """
    tokenizer = PromptTokenizer(model_dir, checkpoint.config.vocab_size)
    prompts = _prompt_tokens(tokenizer, model_dir, context)
    longest_first = sorted(read_steps(STEPS_FILE, tokenizer, context), key=lambda e: len(e.tokens), reverse=True)
    with tempfile.TemporaryDirectory(prefix="duomem-gate-") as name:
        folder = Path(name)
        job = folder / "reference.json"
        episodes = [episode.to_json() for episode in longest_first]
        inputs = {"prompts": prompts, "episodes": episodes}
        repeated = {"prompts": prompts, "episodes": episodes[:1]}
        model = {"checkpoint": str(checkpoint.folder.resolve()), "model_dir": str(model_dir.resolve())}
        write_json(job, {**inputs, **model, "scheme": scheme})
        what = "the parity gate's reference"
        with start_step([*reference_command, str(job)], time_limit, what, GateError, _PASSIVE) as reference:

            def judge(bundle: Bundle, min_agreement: float | None) -> dict[str, Any]:
                reference.succeed(what, "parity gate, reference", GateError)
                expected = _result(job)
                runnable = runnable_here(bundle)
                measured: dict[str, dict[str, Any]] = {}
                for library in runnable:
                    engine_job = folder / f"engine{len(measured)}.json"
                    ours = {"bundle": str(bundle.folder.resolve()), "manifest": bundle.manifest}
                    chosen = {"library": library.file, "device": library.device}
                    write_json(engine_job, {**ours, **chosen, **(repeated if measured else inputs)})
                    run_step(
                        [*engine_command, str(engine_job)],
                        time_limit,
                        f"the parity gate's engine, {library.file},",
                        f"parity gate, {Path(library.file).stem}",
                        GateError,
                        _PASSIVE,
                    )
                    measured[library.file] = _result(engine_job)
                    _judge_logits(library, measured[library.file])
                exact = [library for library in runnable if library.activations == EXACT]
                if not exact:
                    raise GateError(
                        "parity gate: this machine can run no exact library of the bundle: compile on another"
                    )
                best = measured[runnable[0].file]
                actions = _actions(longest_first, Choices(**best["choices"]), Choices(**expected["choices"]))
                least = SCHEMES[scheme].min_agreement if min_agreement is None else min_agreement
                _judge_actions(runnable[0], actions, least)
                firsts = {library.activations: library.file for library in reversed(runnable)}
                others = {
                    library.file: _same_choices(
                        library.file,
                        Choices(**measured[firsts[library.activations]]["choices"]),
                        Choices(**measured[library.file]["choices"]),
                    )
                    for library in runnable
                    if library.file not in firsts.values()
                }
                return {
                    "reference": expected["name"],
                    "prompt_tokens": sum(map(len, prompts)),
                    "bound": BOUND,
                    "max_abs_diff": max(_largest(measured[library.file]) for library in exact),
                    "max_abs_diff_by_step": measured[exact[0].file]["max_abs_diff_by_step"],
                    "libraries": {library.file: _largest(measured[library.file]) for library in exact},
                    "int8": {
                        "bound": INT8_BOUND,
                        "mean_kl": {
                            library.file: max(measured[library.file]["divergence_by_step"].values())
                            for library in runnable
                            if library.activations != EXACT
                        },
                    },
                    "drift": best["drift"],
                    "actions": {**actions, "bound": least, "recorded": sha256_file(STEPS_FILE), "repeated": others},
                    "self_check": _self_check(prompts[0], np.load(folder / "expected.npy", mmap_mode="r")),
                }

            yield judge


def runnable_here(bundle: Bundle) -> list[Library]:
    """The bundle's libraries that this machine can run, best first, a software rasterizer counted as a device."""
    features = cpu_features()
    devices = [name for name in bundle.devices if name == "cpu" or (name == "vulkan" and has_gpu())]
    # Where the system does not tell, what was compiled here asks for nothing.
    if features is None and (plain := [e for e in bundle.libraries if e.device == "cpu" and not e.cpu_features]):
        return plain
    return [library for name in reversed(devices) for library in bundle.runnable(features, name)]


def _self_check(prompt: list[int], expected: np.ndarray) -> dict[str, Any]:
    """What an engine compares a GPU with: the best logits, and some others, after the first tokens of `prompt`."""
    tokens = prompt[:_CHECKED]
    logits = expected[len(tokens) - 1]
    ids = sorted({*np.argsort(logits)[-_CHECKED:].tolist(), *range(0, len(logits), -(-len(logits) // _CHECKED))})
    return {"tokens": tokens, "ids": ids, "logits": [round(float(logits[i]), 5) for i in ids]}


def _result(job: Path) -> dict[str, Any]:
    return read_json(job.with_suffix(".result.json"), "parity gate's result")


def _prompt_tokens(tokenizer: PromptTokenizer, folder: Path, context: int) -> list[list[int]]:
    longest = min(_LONGEST, context)
    prompts = [tokenizer.encode(text)[:longest] for text in _PROMPTS]
    if min(map(len, prompts)) < 8:
        raise GateError(f"{folder / 'tokenizer.json'}: is not this model's tokenizer: save both into one folder")
    return prompts


def _largest(result: dict[str, Any]) -> float:
    return max(result["max_abs_diff_by_step"].values())


def _judge_logits(library: Library, measured: dict[str, Any]) -> None:
    exact = library.activations == EXACT
    worst: dict[str, float] = measured["max_abs_diff_by_step" if exact else "divergence_by_step"]
    largest = max(worst.values())
    shown = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    if not exact and not largest < INT8_BOUND:
        raise RoundingError(
            f"parity gate: with its inputs rounded to 8 bits {library.file} is {largest:.2g} nats from the model, the "
            f"bound is {INT8_BOUND:g} ({shown}): no bundle was written: use --activations exact"
        )
    if exact and not largest < BOUND:
        raise GateError(
            f"parity gate: the logits of {library.file} differ from transformers' by {largest:.2e}, the bound is "
            f"{BOUND:g} ({shown}): no bundle was written, report this with the model's config.json"
        )


def _actions(episodes: list[RecordedEpisode], ours: Choices, theirs: Choices) -> dict[str, Any]:
    """Figures of the recorded steps; shares are None where there is nothing to share.

    A step agrees if both choose the same token at every place up to the first where the float32 model leaves the
    recording, that one included.
    """
    recorded = [
        list(episode.tokens[step.at : step.at + len(step.allowed)]) for episode in episodes for step in episode.steps
    ]
    same, clear, free = [], [], []
    for i, tokens in enumerate(recorded):
        n = compared(tokens, theirs.constrained[i])
        same.append(ours.constrained[i][:n] == theirs.constrained[i][:n])
        clear.append(min(theirs.margins[i][:n]) >= CLEAR)
        n = compared(tokens, theirs.free[i])
        free.append(ours.free[i][:n] == theirs.free[i][:n])
    return {
        "steps": len(recorded),
        "agreement": _share(same),
        "clear_steps": sum(clear),
        "clear_agreement": _share([a for a, b in zip(same, clear, strict=True) if b]),
        "free_agreement": _share(free),
        "as_recorded": _share([a == b for a, b in zip(recorded, ours.constrained, strict=True)]),
        "as_recorded_float32": _share([a == b for a, b in zip(recorded, theirs.constrained, strict=True)]),
    }


def _share(flags: list[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _judge_actions(library: Library, actions: dict[str, Any], least: float) -> None:
    if actions["clear_steps"] >= MIN_STEPS and not actions["clear_agreement"] >= least:
        raise (GateError if library.activations == EXACT else RoundingError)(
            f"parity gate: the compiled model chooses as the float32 one on {actions['clear_agreement']:.1%} of "
            f"{actions['clear_steps']} recorded steps with a clear choice, the bound is {least:.1%}: no bundle was "
            "written: --calibrate, or a --quant of more bits, brings it nearer; --min-agreement lowers the bound"
        )


def _same_choices(file: str, best: Choices, other: Choices) -> dict[str, Any]:
    """Figures of the steps that the library `file` repeated, the first of those that the best one took.

    Raises GateError if it chooses another action where the best library is certain.
    """
    same = [
        (ours == theirs, min(margins) >= CERTAIN)
        for ours, theirs, margins in zip(other.constrained, best.constrained, best.margins, strict=False)
    ]
    certain = [equal for equal, sure in same if sure]
    if not all(certain):
        raise GateError(
            f"parity gate: {file} chooses another action than the best library on {certain.count(False)} of "
            f"{len(certain)} recorded steps with a certain choice: no bundle was written, report this with the "
            "model's config.json"
        )
    return {"steps": len(same), "certain_steps": len(certain), "agreement": _share([equal for equal, _ in same])}
