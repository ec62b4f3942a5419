"""The tables of docs/results/engine-speed.md, from the JSON files of `duomem bench --vs`.

python scripts/peers_table.py DOCUMENT RESULT.json... rewrites what is between the two markers of DOCUMENT.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

BEGIN = "<!-- Written by scripts/bench_peers.sh: run that. -->"
END = "<!-- End of what scripts/bench_peers.sh writes. -->"
_OURS = "duomem"
_TOLD = ("built_for", "weights", "inference_precision", "kv_cache_precision")
"""Facts of an engine that say what is compared."""


def tables(results: list[dict[str, Any]]) -> str:
    """Markdown: for each machine, bundle and library of duomem's a table, its rows by threads and engine."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for result in results:
        library = result["runs"][0]["engines"][_OURS]["library"]
        groups.setdefault((result["machine"]["cpu"], result["bundle"]["digest"], library), []).append(result)
    return "\n\n".join(_table(library, group) for (_, _, library), group in groups.items())


def rewrite(text: str, between: str) -> str:
    """`text` with `between` in place of what was between the markers. Raises ValueError if they are not there."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN!r} and {END!r} are not in it")
    return f"{head}{BEGIN}\n\n{between}\n\n{END}{tail}"


def _table(library: str, results: list[dict[str, Any]]) -> str:
    machine = results[0]["machine"]
    runs = [run for result in results for run in result["runs"]]
    tests = list(dict.fromkeys(test["test"] for run in runs for test in run["tests"]))
    lines = [
        f"### `{library}`",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {_span(result['time'][:10] for result in results)}; "
        f"{_span(result['settings']['repetitions'] for result in results)} repetitions.",
        "",
        f"| engine | threads | {' | '.join(tests)} | mean KL, nats | others, cores |",
        "|---" * (len(tests) + 4) + "|",
    ]
    for threads in sorted({run["threads"] for run in runs}):
        mine = [run for run in runs if run["threads"] == threads]
        cells = [_pooled(mine, test) for test in tests]
        lines.append(f"| {_OURS} {machine['packages'][_OURS]} | {threads} | {' | '.join(cells)} |  |  |")
        for run in mine:
            lines += [_row(name, run, tests) for name in run["engines"] if name != _OURS]
    return "\n".join([*lines, "", *_facts(runs)])


def _span(values: Any) -> str:
    """The smallest and the largest, or the one there is."""
    found = sorted({str(value) for value in values})
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _pooled(runs: list[dict[str, Any]], name: str) -> str:
    """duomem's median over all the runs of a test, whichever engine they alternated with."""
    tests = [test for run in runs for test in run["tests"] if test["test"] == name]
    rates = [test["tokens"] / seconds for test in tests for seconds in test["engines"][_OURS]["seconds"]]
    return f"{statistics.median(rates):.0f}" if rates else ""


def _row(engine: str, run: dict[str, Any], tests: list[str]) -> str:
    facts, same = run["engines"][engine], run["agreement"][engine]
    version = facts.get(facts["engine"]) or facts["llama-cpp-python"]
    found = {test["test"]: test for test in run["tests"]}
    cells = [_cell(found[name], engine) if name in found else "" for name in tests]
    told = f"{same['mean_kl']:.1e}" + ("" if same["same_weights"] else " (other weights)")
    busy = "" if run["others_cores"] is None else f"{run['others_cores']:.1f}"
    return f"| {engine} {version} | {run['threads']} | {' | '.join(cells)} | {told} | {busy} |"


def _cell(test: dict[str, Any], engine: str) -> str:
    return f"{test['engines'][engine]['median']:.0f} ({test['versus'][engine]['median']:.2f}x)"


def _facts(runs: list[dict[str, Any]]) -> list[str]:
    """A line for each engine, or for several of which the same holds, that says more of itself than its version."""
    names: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, facts in run["engines"].items():
            line = "; ".join(f"{fact.replace('_', ' ')} {_short(facts[fact])}" for fact in _TOLD if fact in facts)
            names.setdefault(line, {})[name] = None
    return [f"- {', '.join(who)}: {line}." for line, who in names.items() if line]


def _short(fact: str) -> str:
    """llama.cpp's "CPU : AVX = 1 | AVX2 = 1" as "AVX, AVX2"; others as they are."""
    parts = fact.removeprefix("CPU : ").split(" | ")
    return ", ".join(part.removesuffix(" = 1") for part in parts)


def main(arguments: list[str]) -> None:
    """Rewrite the document."""
    document = Path(arguments[0])
    results = [json.loads(Path(file).read_text()) for file in arguments[1:]]
    try:
        document.write_text(rewrite(document.read_text(), tables(results)))
    except ValueError as e:
        sys.exit(f"{document}: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
