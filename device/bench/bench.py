"""The benchmark itself: which tests, in which processes, in which order; its result is one JSON object.

pp and tg are llama-bench's: process a prompt of so many random tokens into an empty context, and append so many
random tokens one by one, each with its logits; one warm-up, then the repetitions. Nothing is sampled.
"""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.errors import DeviceError
from duomem.core.machine import Others, machine_facts
from duomem.core.progress import progress
from duomem.device.agent.constrained_decoding import log_softmax
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.bench.interleave import TimedRun, interleave, rates, ratios
from duomem.device.bench.peaks import measure_peaks
from duomem.device.bench.worker import Worker
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.cost import DecoderCost

BENCH_VERSION = 2
OURS = "duomem"
_SEED = 0
_CHECKED = 128
SAME_WEIGHTS_KL = 0.1
"""Nats between two engines on the same weights: only rounding may tell them apart."""
OTHER_WEIGHTS_KL = 1.0
"""Nats between two 4-bit models of the same checkpoint, each rounded in its own way."""
_INTRO = (
    "You are in the middle of a room. Looking quickly around you, you see a cabinet 6, a cabinet 5, a cabinet 4, "
    "a cabinet 3, a cabinet 2, a cabinet 1, a coffeemachine 1, a countertop 2, a countertop 1, a drawer 3, a drawer 2, "
    "a drawer 1, a fridge 1, a garbagecan 1, a microwave 1, a shelf 2, a shelf 1, a sinkbasin 1, a stoveburner 4, "
    "a stoveburner 3, a stoveburner 2, a stoveburner 1, and a toaster 1.\n\n"
    "Your task is to: put a clean mug in coffeemachine."
)
_MEMORY = (
    "put a clean plate in countertop. go to cabinet 1, open cabinet 1, take plate 1 from cabinet 1, "
    "go to sinkbasin 1, clean plate 1 with sinkbasin 1, go to countertop 1, move plate 1 to countertop 1"
)


@dataclass(frozen=True)
class Settings:
    """What to measure. prompts: one prefill test for each length; threads: one set of tests for each; contexts: depths
    at which to time decoding; library: file of the bundle's library to time, by default the best this CPU can run.
    """

    prompts: tuple[int, ...] = (512,)
    gen: int = 128
    repetitions: int = 5
    threads: tuple[int, ...] = (1,)
    contexts: tuple[int, ...] = ()
    library: str | None = None

    def needed(self, contexts: Sequence[int]) -> int:
        """Tokens the context must hold."""
        return max(*self.prompts, self.gen, _CHECKED, *(depth + self.gen for depth in contexts))


@dataclass(frozen=True)
class Baseline:
    """Another engine: `module` is run as a worker with `options`, a context length and a number of threads.

    facts: what the result says of it beside what the engine says itself; same_weights: whether its weights are the
    bundle's, value for value, else they are another rounding of the same model.
    """

    name: str
    module: str
    options: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    same_weights: bool = True


def run_bench(bundle: Bundle, settings: Settings, baselines: Sequence[Baseline] = ()) -> dict[str, Any]:
    """Measure `bundle` on this machine, and `baselines` interleaved with it; the JSON object of docs/bench.md.

    Raises DeviceError if the bundle's context is too short for the tests, if an engine fails, or if a baseline
    does not compute the same model.
    """
    longest = max(settings.prompts)
    if max(longest, settings.gen) > bundle.context_length:
        raise DeviceError(
            f"{bundle.folder}: holds {bundle.context_length} tokens, --prompt {longest} and --gen "
            f"{settings.gen} need more: give smaller ones, or compile with a larger --context"
        )
    contexts = [depth for depth in settings.contexts if depth + settings.gen <= bundle.context_length]
    notes = [
        f"context {depth} left out: {settings.gen} more tokens do not fit the bundle's {bundle.context_length}"
        for depth in settings.contexts
        if depth not in contexts
    ]
    cost = DecoderCost.from_json(bundle.manifest.get("cost"), f"{bundle.folder}/bundle.json")
    steps = 3 + (settings.repetitions + 1) * (len(settings.prompts) + 1 + len(contexts)) * max(1, 2 * len(baselines))
    with progress(None, "bench", total=len(settings.threads) * steps, unit="runs") as bar:
        runs = [
            _Run(bundle, settings, baselines, contexts, threads, cost, bar.update).result()
            for threads in settings.threads
        ]
    return {
        "benchmark": "duomem",
        "version": BENCH_VERSION,
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine_facts(),
        "bundle": {
            "model": bundle.manifest["model"]["id"],
            "digest": bundle.manifest["model"]["digest"],
            "quantization": bundle.quantization,
            "target": bundle.manifest["target"]["name"],
            "device": bundle.device,
            "context": bundle.context_length,
            "prefill_chunk": bundle.prefill_chunk,
        },
        "files": _file_sizes(bundle),
        "cost": cost.to_json(),
        "settings": asdict(settings),
        "runs": runs,
        "notes": notes,
    }


class _Run:
    """All tests with one number of threads."""

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        baselines: Sequence[Baseline],
        contexts: Sequence[int],
        threads: int,
        cost: DecoderCost,
        tick: Callable[[], object],
    ) -> None:
        self.bundle, self.settings, self.baselines, self.contexts = bundle, settings, baselines, contexts
        self.threads, self.cost, self.tick = threads, cost, tick
        self.length = min(settings.needed(contexts), bundle.context_length)
        self.agent_prompt = _agent_prompt(bundle)[: self.length]
        self.tests: list[dict[str, Any]] = []

    def result(self) -> dict[str, Any]:
        others = Others()
        before = self._peaks()
        start = self._start()
        with ExitStack() as stack:
            ours = stack.enter_context(self._ours())
            baselines = [stack.enter_context(self._baseline(baseline)) for baseline in self.baselines]
            agreement = {
                worker.name: self._agreement(ours, worker, baseline.same_weights)
                for worker, baseline in zip(baselines, self.baselines, strict=True)
            }
            tokens = np.random.default_rng(_SEED).integers(0, self.bundle.vocab_size, self.length).tolist()
            start["warm_prefill_seconds"] = ours.prefill(self.agent_prompt)
            for length in self.settings.prompts:
                self._prefill_test(tokens[:length], [ours, *baselines])
            new = tokens[: self.settings.gen]
            self._test(f"tg{len(new)}", len(new), 0, [ours, *baselines], lambda w: lambda: w.decode(new))
            depth = 0
            for context in sorted(set(self.contexts)):
                if context > depth:
                    for worker in (ours, *baselines):
                        worker.extend(tokens[depth:context])
                    depth = context
                self._test(
                    f"tg{len(new)}@{context}", len(new), context, [ours, *baselines], lambda w: lambda: w.decode(new)
                )
            memory = {worker.name: worker.peak_rss() for worker in (ours, *baselines)}
            facts = {worker.name: worker.facts() for worker in (ours, *baselines)}
        for baseline in self.baselines:
            facts[baseline.name] |= baseline.facts
        after = self._peaks()
        peaks = {name: max(before[name], after[name]) if before[name] and after[name] else None for name in before}
        for test in self.tests:
            self._utilisation(test, peaks)
        return {
            "threads": self.threads,
            "others_cores": others.cores(),
            "peaks": {**peaks, "before": before, "after": after},
            "start": start,
            "peak_rss": memory,
            "engines": facts,
            "agreement": agreement,
            "tests": self.tests,
        }

    def _ours(self) -> Worker:
        options = {"folder": str(self.bundle.folder), "device": self.bundle.device, "context_length": self.length}
        if self.settings.library:
            options["library"] = self.settings.library
        return Worker(OURS, "duomem.device.bench.tvm_bench_engine", options, self.threads)

    def _baseline(self, baseline: Baseline) -> Worker:
        options = {**baseline.options, "context_length": self.length, "threads": self.threads}
        return Worker(baseline.name, baseline.module, options, self.threads)

    def _peaks(self) -> dict[str, Any]:
        peaks = measure_peaks(self.threads, self.cost.weight_bytes)
        self.tick()
        return peaks

    def _start(self) -> dict[str, Any]:
        """Fresh processes, files in the page cache: from the start of the program to the first logits."""
        load, prefill = [], []
        for _ in range(self.settings.repetitions):
            with self._ours() as worker:
                load.append(worker.load_seconds)
                prefill.append(worker.prefill(self.agent_prompt))
        self.tick()
        return {
            "prompt_tokens": len(self.agent_prompt),
            "load_seconds": load,
            "prefill_seconds": prefill,
            "first_token_seconds": statistics.median(a + b for a, b in zip(load, prefill, strict=True)),
        }

    def _agreement(self, ours: Worker, baseline: Worker, same_weights: bool) -> dict[str, Any]:
        """Whether the baseline computes the same model: mean KL(ours || baseline) in nats, equal best tokens."""
        tokens = self.agent_prompt[:_CHECKED]
        a, b = (log_softmax(worker.logits(tokens)) for worker in (ours, baseline))
        kl = float((np.exp(a) * (a - b)).sum(axis=1).mean())
        bound = SAME_WEIGHTS_KL if same_weights else OTHER_WEIGHTS_KL
        if not kl <= bound:
            raise DeviceError(
                f"{baseline.name}: its logits are not this bundle's (mean KL {kl:.3g} nats, at most "
                f"{bound} is rounding): the two do not compute the same model, nothing was timed"
            )
        return {
            "tokens": len(tokens),
            "same_weights": same_weights,
            "mean_kl": kl,
            "largest_kl": bound,
            "same_best": float((a.argmax(1) == b.argmax(1)).mean()),
        }

    def _prefill_test(self, prompt: Sequence[int], workers: Sequence[Worker]) -> None:
        self._test(f"pp{len(prompt)}", len(prompt), None, workers, lambda w: lambda: w.prefill(prompt))

    def _test(
        self,
        name: str,
        tokens: int,
        context: int | None,
        workers: Sequence[Worker],
        timed_run: Callable[[Worker], TimedRun],
    ) -> None:
        """Time one test. context: tokens before the generated ones, None for prefill."""
        ours, *baselines = workers
        mine: list[float] = []
        versus: dict[str, Any] = {}
        engines: dict[str, list[float]] = {}
        if not baselines:
            mine += interleave([timed_run(ours)], self.settings.repetitions, self.tick)[0]
        for baseline in baselines:
            pair = interleave([timed_run(ours), timed_run(baseline)], self.settings.repetitions, self.tick)
            mine += pair[0]
            engines[baseline.name] = pair[1]
            versus[baseline.name] = ratios(*pair)
        result = {name: rates(tokens, taken) for name, taken in {OURS: mine, **engines}.items()}
        self.tests.append({"test": name, "tokens": tokens, "context": context, "engines": result, "versus": versus})
        if versus:
            best = min(versus, key=lambda baseline: versus[baseline]["median"])
            self.tests[-1]["best_baseline"], self.tests[-1]["ratio"] = best, versus[best]["median"]

    def _utilisation(self, test: dict[str, Any], peaks: dict[str, Any]) -> None:
        """Add the achieved rates of the mean repetition and their shares of the measured peaks."""
        tokens, context = test["tokens"], test["context"]
        if context is None:
            flops, moved = self.cost.prefill_flops(tokens), self._prefill_bytes(tokens)
        else:
            after = range(context, context + tokens)
            flops = sum(map(self.cost.decode_flops, after))
            moved = sum(map(self.cost.decode_bytes, after))
        per_second = test["engines"][OURS]["mean"] / tokens
        test["cost"] = {
            "flops": flops,
            "bytes": moved,
            "flops_per_second": flops * per_second,
            "bytes_per_second": moved * per_second,
            "flop_utilisation": flops * per_second / peaks["flops"],
            "bandwidth_utilisation": moved * per_second / peaks["read"],
        }

    def _prefill_bytes(self, tokens: int) -> int:
        """Weights once a chunk."""
        return -(-tokens // self.bundle.prefill_chunk) * self.cost.weight_bytes


def _agent_prompt(bundle: Bundle) -> list[int]:
    """What an agent reads before its first command: system text, one memory, task and first observation."""
    tokenizer = PromptTokenizer(bundle.tokenizer_file, bundle.vocab_size)
    return tokenizer.system() + tokenizer.head(_INTRO, [_MEMORY])


def _file_sizes(bundle: Bundle) -> dict[str, int]:
    sizes = {name: entry["size"] for name, entry in bundle.manifest["files"].items()}
    return {
        "weights": sum(size for name, size in sizes.items() if Path(name).name.startswith("params_shard_")),
        "libraries": sum(size for name, size in sizes.items() if name.startswith("lib/")),
        "all": sum(sizes.values()),
    }
