"""The whole benchmark on a tiny bundle: what is run, what the result holds, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.device.bench.bench import OURS, Baseline, Settings, run_bench
from duomem.device.bench.report import report
from duomem.device.engine.bundle import Bundle, read_bundle
from duomem.device.engine.cost import DecoderCost

SETTINGS = Settings(prompts=(70, 16), gen=8, repetitions=2, threads=(1, 2), contexts=(0, 40, 249))
LIAR = """
import sys
import numpy as np
from duomem.device.bench.tvm_bench_engine import TvmBenchEngine, load
from duomem.device.bench.worker import serve

class Liar(TvmBenchEngine):
    def logits(self, tokens):
        return -super().logits(tokens)

def lie(options):
    engine = load(options)
    engine.__class__ = Liar
    return engine

serve(lie)
"""


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


def twin(bundle: Bundle, name: str = "twin", module: str = "duomem.device.bench.tvm_bench_engine") -> Baseline:
    """The bundle itself as another engine."""
    return Baseline(name, module, {"folder": str(bundle.folder), "device": "cpu"}, {"twin": True})


@pytest.fixture(scope="module")
def result(bundle: Bundle) -> dict[str, Any]:
    return run_bench(bundle, SETTINGS, [twin(bundle, "first"), twin(bundle, "second")])


def _keys(value: Any) -> Any:
    """The shape of a JSON value: names, types, and the first element of a list."""
    if isinstance(value, dict):
        return {name: _keys(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_keys(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


def test_the_schema_is_version_2(result: dict[str, Any]) -> None:
    """A change here is a new BENCH_VERSION."""
    found = json.loads(json.dumps(result))
    assert (found["benchmark"], found["version"]) == ("duomem", 2)
    rates = {name: "number" for name in ("mean", "sd", "median", "min", "max")} | {"seconds": ["number"]}
    versus = {"median": "number", "pairs": ["number"]}
    names = (OURS, "first", "second")
    run, test = found["runs"][0], found["runs"][0]["tests"][0]
    assert list(found) == [
        "benchmark",
        "version",
        "time",
        "machine",
        "bundle",
        "files",
        "cost",
        "settings",
        "runs",
        "notes",
    ]
    assert list(run) == ["threads", "others_cores", "peaks", "start", "peak_rss", "engines", "agreement", "tests"]
    assert _keys(run["start"]) == {
        "prompt_tokens": "number",
        "load_seconds": ["number"],
        "prefill_seconds": ["number"],
        "first_token_seconds": "number",
        "warm_prefill_seconds": "number",
    }
    assert _keys(run["peak_rss"]) == dict.fromkeys(names, "number")
    assert _keys(run["agreement"]["first"]) == {
        "tokens": "number",
        "same_weights": "bool",
        "mean_kl": "number",
        "largest_kl": "number",
        "same_best": "number",
    }
    assert _keys(test) == {
        "test": "str",
        "tokens": "number",
        "context": "NoneType",
        "engines": dict.fromkeys(names, rates),
        "versus": dict.fromkeys(names[1:], versus),
        "best_baseline": "str",
        "ratio": "number",
        "cost": dict.fromkeys(
            ("flops", "bytes", "flops_per_second", "bytes_per_second", "flop_utilisation", "bandwidth_utilisation"),
            "number",
        ),
    }
    assert set(run["peaks"]) == {"flops", "read", "memory", "memory_buffer", "before", "after"}
    assert DecoderCost.from_json(found["cost"], "result").to_json() == found["cost"]
    assert set(found["files"]) == {"weights", "libraries", "all"}


def test_every_test_ran_for_every_number_of_threads(result: dict[str, Any]) -> None:
    assert [run["threads"] for run in result["runs"]] == [1, 2]
    for run in result["runs"]:
        assert [test["test"] for test in run["tests"]] == ["pp70", "pp16", "tg8", "tg8@0", "tg8@40"]
        for test in run["tests"]:
            assert len(test["engines"][OURS]["seconds"]) == 4, "two repetitions in turns with each of two baselines"
            assert len(test["engines"]["first"]["seconds"]) == 2
    assert result["notes"] == ["context 249 left out: 8 more tokens do not fit the bundle's 256"]


def test_ratios_are_of_the_pairs_that_were_timed(result: dict[str, Any]) -> None:
    for test in (test for run in result["runs"] for test in run["tests"]):
        ours = test["engines"][OURS]["seconds"]
        for mine, baseline in ((ours[:2], "first"), (ours[2:], "second")):
            theirs = test["engines"][baseline]["seconds"]
            assert test["versus"][baseline]["pairs"] == [b / a for a, b in zip(mine, theirs, strict=True)]
        assert test["ratio"] == min(v["median"] for v in test["versus"].values())
        assert test["ratio"] == test["versus"][test["best_baseline"]]["median"]


def test_achieved_rates_follow_from_cost_and_speed(result: dict[str, Any], bundle: Bundle) -> None:
    cost = DecoderCost.from_json(bundle.manifest["cost"], "bundle.json")
    run = result["runs"][0]
    prefill, _, decode, _, deep = run["tests"]
    speed = prefill["engines"][OURS]["mean"]
    assert prefill["cost"]["flops_per_second"] == pytest.approx(cost.prefill_flops(70) * speed / 70)
    assert prefill["cost"]["flop_utilisation"] == pytest.approx(
        prefill["cost"]["flops_per_second"] / run["peaks"]["flops"]
    )
    moved = sum(cost.decode_bytes(40 + i) for i in range(8))
    assert deep["cost"]["bytes_per_second"] == pytest.approx(moved * deep["engines"][OURS]["mean"] / 8)
    assert deep["cost"]["bytes"] > decode["cost"]["bytes"]


def test_the_twin_agrees(result: dict[str, Any]) -> None:
    for run in result["runs"]:
        assert run["agreement"]["first"] == {
            "tokens": 128,
            "same_weights": True,
            "mean_kl": 0,
            "largest_kl": 0.1,
            "same_best": 1,
        }
        assert run["engines"]["first"]["twin"] is True
        assert 2e7 < run["peak_rss"][OURS] < 4e9


def test_the_report_names_every_test_and_baseline(result: dict[str, Any]) -> None:
    text = report(result)
    for word in ("pp70", "tg8@40", "first", "second", "1 thread;", "2 threads;", "note: context 249", "GFLOP/s"):
        assert word in text


def test_the_report_warns_of_a_busy_machine(result: dict[str, Any]) -> None:
    for cores, warned in ((0.05, False), (None, False), (1.5, True)):
        run = {**result["runs"][0], "others_cores": cores}
        assert ("other processes kept 1.5 cores busy" in report({**result, "runs": [run]})) is warned


def test_an_engine_of_another_model_is_not_timed(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "liar.py").write_text(LIAR)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(UserError, match=r"^liar: its logits are not this bundle's"):
        run_bench(bundle, Settings((8,), 4, 1), [twin(bundle, "liar", "liar")])


def test_other_weights_have_a_bound_of_their_own_and_are_named(bundle: Bundle) -> None:
    other = replace(twin(bundle, "other"), facts={"weights": "rounded elsewhere"}, same_weights=False)
    found = run_bench(bundle, Settings((8,), 4, 1), [other])
    agreement = found["runs"][0]["agreement"]["other"]
    assert agreement["same_weights"] is False and agreement["largest_kl"] == 1.0
    assert "other: rounded elsewhere; mean KL" in report(found)


@pytest.mark.parametrize("settings", [Settings(prompts=(8, 257)), Settings(prompts=(8,), gen=257)])
def test_a_test_that_does_not_fit_the_context(bundle: Bundle, settings: Settings) -> None:
    with pytest.raises(UserError, match=r"holds 256 tokens, --prompt .* and --gen .* need more"):
        run_bench(bundle, settings)


def test_a_bundle_without_its_cost(bundle: Bundle) -> None:
    manifest = {name: value for name, value in bundle.manifest.items() if name != "cost"}
    with pytest.raises(UserError, match=r"bundle.json: field cost.attention is missing"):
        run_bench(Bundle(bundle.folder, manifest), Settings((8,), 4, 1))


def test_the_library_asked_for_is_the_one_timed(bundle: Bundle) -> None:
    file = bundle.manifest["target"]["libraries"][-1]["file"]
    found = run_bench(bundle, Settings((8,), 4, 1, library=file))
    assert found["runs"][0]["engines"][OURS]["library"] == file and found["settings"]["library"] == file
    with pytest.raises(UserError, match=r"absent\.so"):
        run_bench(bundle, Settings((8,), 4, 1, library="lib/absent.so"))
