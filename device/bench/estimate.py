"""How fast a model can be at most on a device that is not here, and how fast it likely is: a roofline.

The limits are the device's public memory rate and arithmetic peaks (configs/devices.toml) against what the model has
to read and compute (`DecoderCost`); likely is the share of such limits that was reached where it could be measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.configs import devices_file
from duomem.core.errors import ConfigError, DeviceError
from duomem.core.files import read_json, read_toml
from duomem.device.bench.bench import OURS
from duomem.device.engine.cost import DecoderCost

_LARGEST_SHARE = 100.0


@dataclass(frozen=True)
class DevicePeaks:
    """What a device can do at most: bytes a second of its memory, float32 and 8-bit operations a second."""

    title: str
    memory: float
    float32: float
    int8: float
    sources: tuple[str, str]


@dataclass(frozen=True)
class Shares:
    """Shares of the peaks that a machine reached: of its memory rate in decoding, of float32 in prefill.

    `source` says what machine that was. A share above 1 is no mistake: 8-bit products beat the float32 peak.
    """

    decode: float
    prefill: float
    source: str


DOCUMENTED = Shares(0.39, 0.61, "2 cores of an AMD EPYC (Zen 3, AVX2), SmolLM2-135M q4f32_1, exact activations")
"""Measured on 2026-11-29: tg128 178 and pp512 502 tokens/s; peaks there 35.9 GB/s and 189 GFLOP/s."""


@dataclass(frozen=True)
class Estimate:
    """Tokens a second on a device: the limits, and what is likely."""

    device: str
    decode_limit: float
    decode_likely: float
    prefill_limit_float32: float
    prefill_limit_int8: float
    prefill_likely: float


def read_devices(path: Path | None = None) -> dict[str, DevicePeaks]:
    """The devices of a file like configs/devices.toml, that one if None. Raises ConfigError naming the wrong field."""
    path = path or devices_file()
    return {name: _peaks(path, name, entry) for name, entry in read_toml(path, "list of devices").items()}


def choose_devices(names: Sequence[str], known: Mapping[str, DevicePeaks]) -> dict[str, DevicePeaks]:
    """The devices `names`, all of them for "all". Raises ConfigError, listing the known ones, on another."""
    if list(names) == ["all"]:
        return dict(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"--estimate {name}: no such device: use all, or some of {', '.join(known)}")
    return {name: known[name] for name in names}


def estimate(
    cost: DecoderCost, devices: Mapping[str, DevicePeaks], prompt: int, gen: int, chunk: int, shares: Shares
) -> list[Estimate]:
    """Limits and likely rates of a model on devices.

    prompt: tokens prefilled into an empty context, `chunk` of them a pass over the weights. gen: tokens decoded from
    an empty context on. As in `run_bench`.
    """
    read = sum(map(cost.decode_bytes, range(gen))) / gen
    computed = sum(map(cost.decode_flops, range(gen))) / gen
    flops, moved = cost.prefill_flops(prompt) / prompt, math.ceil(prompt / chunk) * cost.weight_bytes / prompt
    result = []
    for name, device in devices.items():
        decode = min(device.memory / read, device.int8 / computed)
        whole, rounded = (min(device.memory / moved, peak / flops) for peak in (device.float32, device.int8))
        result.append(
            Estimate(
                name,
                decode,
                min(decode, shares.decode * device.memory / read),
                whole,
                rounded,
                min(rounded, shares.prefill * device.float32 / flops),
            )
        )
    return result


def measured_shares(path: Path) -> Shares:
    """The shares an earlier `duomem bench --json` found, of its run with the most threads.

    Raises FileError or DeviceError, naming the file and the field.
    """
    value = read_json(path, "bench result")
    try:
        run = max(value["runs"], key=lambda run: run["threads"])
        shares = {}
        for test in run["tests"]:
            kind, field = ("tg", "bandwidth_utilisation") if test["context"] is not None else ("pp", "flop_utilisation")
            shares.setdefault(kind, float(test["cost"][field]))
            if OURS not in test["engines"] or not 0 < shares[kind] < _LARGEST_SHARE:
                raise ValueError(f"cost.{field} is not a share")
        return Shares(shares["tg"], shares["pp"], f"{value['machine']['cpu']}, {run['threads']} threads")
    except (KeyError, TypeError, ValueError, IndexError) as e:
        raise DeviceError(f"{path}: not a result of duomem bench --json ({type(e).__name__}: {e}): make one") from None


def estimate_json(
    estimates: Sequence[Estimate], devices: Mapping[str, DevicePeaks], prompt: int, gen: int, shares: Shares
) -> dict[str, Any]:
    """The JSON object of `duomem bench --estimate`; rates in tokens a second."""
    return {
        "benchmark": "duomem-estimate",
        "estimate": True,
        "prompt": prompt,
        "gen": gen,
        "shares": {"decode": shares.decode, "prefill": shares.prefill, "source": shares.source},
        "devices": [{**vars(e), "peaks": vars(devices[e.device])} for e in estimates],
    }


def estimate_lines(
    estimates: Sequence[Estimate], devices: Mapping[str, DevicePeaks], prompt: int, gen: int, shares: Shares
) -> str:
    """The same for people."""
    rows = [["device", "GB/s", "GFLOP/s", f"tg{gen} likely", "limit", f"pp{prompt} likely", "limit fp32", "limit int8"]]
    for e in estimates:
        peaks = devices[e.device]
        figures = (peaks.memory / 1e9, peaks.float32 / 1e9, e.decode_likely, e.decode_limit, e.prefill_likely)
        rows.append(
            [
                peaks.title,
                *(
                    f"{x:.3g}" if x < 100 else f"{x:.0f}"
                    for x in (*figures, e.prefill_limit_float32, e.prefill_limit_int8)
                ),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        [
            "ESTIMATES, nothing was measured on these devices: tokens a second by their public peaks",
            *(
                "  ".join(
                    c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
                )
                for row in rows
            ),
            f"likely: {shares.decode:.0%} of the memory rate and {shares.prefill:.0%} of the float32 peak, as reached "
            f"by {shares.source}; a phone that gets hot is slower",
        ]
    )


def _peaks(path: Path, name: str, entry: Any) -> DevicePeaks:
    try:
        cores = [tuple(map(float, core)) for core in entry["cores"]]
        float32 = sum(n * ghz * wide for n, ghz, wide, _ in cores)
        int8 = sum(n * ghz * wide for n, ghz, _, wide in cores)
        peaks = [float(entry["memory"]) * 1e9, float32 * 1e9, int8 * 1e9]
        if not all(0 < peak < math.inf for peak in peaks):
            raise ValueError("memory and cores must be above 0")
        sources = (str(entry["memory_source"]), str(entry["cores_source"]))
        return DevicePeaks(str(entry["title"]), peaks[0], peaks[1], peaks[2], sources)
    except (KeyError, TypeError, ValueError) as e:
        raise ConfigError(f"{path}: device {name}: {type(e).__name__}: {e}: compare it with raspberry-pi-5") from None
