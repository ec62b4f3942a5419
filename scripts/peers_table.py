"""The table of docs/results/engine-speed.md, from the JSON files of `duomem bench --vs`.

python scripts/peers_table.py DOCUMENT RESULT.json... rewrites what is between the two markers of DOCUMENT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BEGIN = "<!-- Written by scripts/bench_peers.sh: run that. -->"
END = "<!-- End of what scripts/bench_peers.sh writes. -->"


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a paragraph and a table for each result, its rows by engine, its columns by test and threads."""
    return "\n\n".join(_one(result) for result in results)


def rewrite(text: str, between: str) -> str:
    """`text` with `between` in place of what was between the markers. Raises ValueError if they are not there."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN!r} and {END!r} are not in it")
    return f"{head}{BEGIN}\n\n{between}\n\n{END}{tail}"


def _one(result: dict[str, Any]) -> str:
    machine, runs = result["machine"], result["runs"]
    threads = "/".join(str(run["threads"]) for run in runs)
    library = runs[0]["engines"]["duomem"]["library"]
    tests = [test["test"] for test in runs[0]["tests"]]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {result['time'][:10]}; `{library}`; median tokens/s at "
        f"{threads} threads, in brackets how many times faster duomem is (median of neighbouring runs).",
        "",
        f"| engine | {' | '.join(tests)} | mean KL, nats |",
        "|---" * (len(tests) + 2) + "|",
    ]
    for name, facts in runs[0]["engines"].items():
        version = facts.get(facts["engine"]) or facts.get("llama-cpp-python") or machine["packages"]["duomem"]
        cells = [_cell([run["tests"][i] for run in runs], name) for i in range(len(tests))]
        same = runs[0]["agreement"].get(name)
        told = "" if same is None else f"{same['mean_kl']:.1e}" + ("" if same["same_weights"] else " (other weights)")
        lines.append(f"| {name} {version} | {' | '.join(cells)} | {told} |")
    return "\n".join(lines)


def _cell(tests: list[dict[str, Any]], engine: str) -> str:
    speeds = " / ".join(f"{test['engines'][engine]['median']:.0f}" for test in tests)
    times = " / ".join(f"{test['versus'][engine]['median']:.2f}x" for test in tests if engine in test["versus"])
    return f"{speeds} ({times})" if times else speeds


def main(arguments: list[str]) -> None:
    """Rewrite the document."""
    document = Path(arguments[0])
    results = [json.loads(Path(file).read_text()) for file in arguments[1:]]
    try:
        document.write_text(rewrite(document.read_text(), table(results)))
    except ValueError as e:
        sys.exit(f"{document}: {e}")


if __name__ == "__main__":
    main(sys.argv[1:])
