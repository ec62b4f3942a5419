"""Rooflines of devices that are not here: the arithmetic, the data file, what is read from an earlier bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import ConfigError, DeviceError
from duomem.device.bench.estimate import (
    DOCUMENTED,
    DevicePeaks,
    Shares,
    choose_devices,
    estimate,
    estimate_json,
    estimate_lines,
    measured_shares,
    read_devices,
)
from duomem.device.engine.cost import AttentionCost, DecoderCost

COST = DecoderCost(weight_bytes=1000, layer_flops=4000, head_flops=0, attention=(AttentionCost(1, 0, 0, 0),))
DEVICE = DevicePeaks("Board", memory=1e6, float32=2e6, int8=8e6, sources=("a", "b"))
SHARES = Shares(0.5, 0.25, "a test")


def test_limits_are_memory_in_decoding_and_arithmetic_in_prefill() -> None:
    (result,) = estimate(COST, {"board": DEVICE}, 512, 128, 512, SHARES)
    assert (result.decode_limit, result.decode_likely) == pytest.approx((1000, 500))
    assert (result.prefill_limit_float32, result.prefill_limit_int8) == pytest.approx((500, 2000))
    assert result.prefill_likely == pytest.approx(125)


def test_what_is_likely_is_never_above_the_limit() -> None:
    (result,) = estimate(COST, {"board": DEVICE}, 512, 128, 512, Shares(3.0, 9.0, "a test"))
    assert result.decode_likely == result.decode_limit
    assert result.prefill_likely == result.prefill_limit_int8


def test_prefill_of_few_tokens_is_bound_by_reading_the_weights() -> None:
    (result,) = estimate(COST, {"board": DEVICE}, 1, 1, 512, SHARES)
    assert result.prefill_limit_int8 == pytest.approx(1000)


def test_every_shipped_device_has_sources_and_sensible_peaks() -> None:
    devices = read_devices()
    assert len(devices) >= 10 and choose_devices(["all"], devices) == devices
    for device in devices.values():
        assert all(device.sources) and 10e9 < device.memory < 200e9 and device.float32 < device.int8
    assert devices["raspberry-pi-5"].float32 == pytest.approx(153.6e9)
    text = estimate_lines(estimate(COST, devices, 512, 128, 512, SHARES), devices, 512, 128, SHARES)
    assert text.startswith("ESTIMATES") and "Raspberry Pi 5" in text and "a test" in text


def test_the_json_object_names_its_shares_and_sources() -> None:
    known = {"board": DEVICE}
    value = estimate_json(estimate(COST, known, 512, 128, 512, DOCUMENTED), known, 512, 128, DOCUMENTED)
    assert value["estimate"] is True and "Zen 3" in json.loads(json.dumps(value))["shares"]["source"]
    assert value["devices"][0]["device"] == "board" and value["devices"][0]["peaks"]["sources"] == ("a", "b")


def test_an_unknown_device_is_told_with_those_known() -> None:
    with pytest.raises(ConfigError, match="--estimate fridge: no such device: use all, or some of board"):
        choose_devices(["board", "fridge"], {"board": DEVICE})


@pytest.mark.parametrize(
    "text",
    ["[x]\ntitle = 'X'", "x = 1", "[x]\ntitle='X'\nmemory=1\ncores=[[1,2,3]]\nmemory_source='a'\ncores_source='b'"],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "devices.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"devices\.toml: device x: "):
        read_devices(file)


def _result(**changes: Any) -> dict[str, Any]:
    def run(threads: int, share: float) -> dict[str, Any]:
        cost = {"flop_utilisation": share, "bandwidth_utilisation": share / 2}
        tests = [{"context": context, "cost": cost, "engines": {"duomem": {}}} for context in (None, 0, 1024)]
        return {"threads": threads, "tests": tests}

    return {"machine": {"cpu": "A CPU"}, "runs": [run(2, 0.6), run(1, 0.8)], **changes}


def test_shares_are_those_of_the_run_with_most_threads(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(_result()))
    assert measured_shares(file) == Shares(0.3, 0.6, "A CPU, 2 threads")


@pytest.mark.parametrize("value", [[], {}, _result(runs=[]), _result(machine=None), {"runs": [{"threads": 1}]}])
def test_another_file_is_no_bench_result(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(value))
    with pytest.raises(DeviceError, match=r"bench\.json: not a result of duomem bench --json"):
        measured_shares(file)
