"""A bench result as text for people. The JSON object holds everything; this shows what one asks first."""

from __future__ import annotations

import statistics
from typing import Any

from duomem.device.bench.bench import OURS

_DISTURBED = 0.1
"""Cores' worth of other work that is worth a warning."""


def report(result: dict[str, Any]) -> str:
    """The lines that `duomem bench` prints above its JSON line."""
    machine, bundle, files = result["machine"], result["bundle"], result["files"]
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else ""
    lines = [
        f"{bundle['model']} {bundle['quantization']} for {bundle['target']} on {machine['cpu']}, "
        f"{machine['cores']} cores{memory}, {machine['system']}",
        f"weights {_mb(files['weights'])}, libraries {_mb(files['libraries'])}, bundle {_mb(files['all'])}; "
        f"{result['settings']['repetitions']} repetitions after a warm-up",
    ]
    for run in result["runs"]:
        lines += ["", *_run_lines(run)]
    return "\n".join(lines + [f"note: {note}" for note in result["notes"]])


def _run_lines(run: dict[str, Any]) -> list[str]:
    baselines = [name for name in run["engines"] if name != OURS]
    rows = [
        [
            "test",
            "tok/s",
            "sd",
            "range",
            "GFLOP/s",
            "GB/s read",
            *(cell for baseline in baselines for cell in (baseline, "sd", "ratio")),
        ]
    ]
    for test in run["tests"]:
        mine, cost = test["engines"][OURS], test["cost"]
        row = [
            test["test"],
            f"{mine['mean']:.1f}",
            f"{mine['sd']:.1f}",
            f"{mine['min']:.1f}-{mine['max']:.1f}",
            f"{cost['flops_per_second'] / 1e9:.1f} ({cost['flop_utilisation']:.0%})",
            f"{cost['bytes_per_second'] / 1e9:.1f} ({cost['bandwidth_utilisation']:.0%})",
        ]
        for baseline in baselines:
            theirs = test["engines"][baseline]
            row += [f"{theirs['mean']:.1f}", f"{theirs['sd']:.1f}", f"{test['versus'][baseline]['median']:.2f}"]
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    start, peaks = run["start"], run["peaks"]
    memory = f", memory {peaks['memory'] / 1e9:.1f} GB/s" if peaks["memory"] else ""
    lines = [
        f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}; this machine's peaks: "
        f"{peaks['flops'] / 1e9:.0f} GFLOP/s fp32, {peaks['read'] / 1e9:.1f} GB/s over a buffer as large as the "
        f"weights{memory}",
        *table,
        f"start: load {statistics.median(start['load_seconds']):.2f} s, first token of an agent's prompt of "
        f"{start['prompt_tokens']} tokens after {start['first_token_seconds']:.2f} s (once loaded: "
        f"{start['warm_prefill_seconds']:.2f} s); "
        "peak memory " + ", ".join(f"{name} {_mb(size)}" for name, size in run["peak_rss"].items()),
    ]
    if (run["others_cores"] or 0) > _DISTURBED:
        lines.append(
            f"other processes kept {run['others_cores']:.1f} cores busy meanwhile: measure again on a quiet machine"
        )
    for baseline in baselines:
        same = run["agreement"][baseline]
        weights = "the same weights" if same["same_weights"] else run["engines"][baseline]["weights"]
        lines.append(
            f"{baseline}: {weights}; mean KL {same['mean_kl']:.1e} nats, same best token "
            f"{same['same_best']:.1%} of {same['tokens']}"
        )
    if baselines:
        lines.append(
            "against the better of them, median of pairs: "
            + ", ".join(f"{test['test']} {test['ratio']:.2f}x" for test in run["tests"])
        )
    return lines


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
