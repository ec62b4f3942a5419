"""A bundle's own benchmark, run on the device it was deployed to, and one table of every device's results.

What a device says is not trusted: a result is checked field by field before it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from duomem.core.errors import DeployError, printable
from duomem.core.files import read_json, write_bytes, write_json
from duomem.core.process import last_line
from duomem.core.reading import parse_json
from duomem.deploy.transport import Transport

TABLE = "bench.md"
TIMEOUT = 3600.0
_LIMIT = 4 << 20
_ENGINE = "duomem"
_HEAD = ("device", "CPU", "cores", "system", "student", "threads", "first token s", "peak MB")


def bench_on_device(transport: Transport, folder: str, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Run `bench` of the current bundle in `folder` of the device; the JSON object on its last line.

    arguments: as `duomem bench` takes them after the bundle. Raises DeployError if the bundle has no benchmark, it
    fails, or what it says is no result.
    """
    command = f"cd {quote(folder)}/current && [ -f bench ] || {{ echo 'no bench in the current bundle'; exit 1; }}\n"
    done = transport.run(command + "sh ./bench " + " ".join(map(quote, arguments)), TIMEOUT)
    if done.status:
        raise DeployError(f"{transport.name}: bench fails there: {last_line(done.output)}")
    lines = [line for line in done.output.splitlines() if line.startswith("{")]
    if not lines:
        raise DeployError(f"{transport.name}: bench prints no JSON line: deploy a bundle of this duomem")
    where = f"{transport.name}: bench's result"
    result = parse_json(lines[-1].encode(), where, _LIMIT)
    _row("", result, where)
    return result


def keep(result: dict[str, Any], name: str, folder: Path) -> Path:
    """Write `result` as NAME.json into `folder`, and the table of all results there anew; the table's path.

    Raises DeployError if another file there is no result.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "device"
    write_json(folder / f"{plain}.json", result)
    paths = sorted(folder.glob("*.json"))
    results = [(path.stem, read_json(path, "bench result", _LIMIT)) for path in paths]
    write_bytes(folder / TABLE, table(results).encode())
    return folder / TABLE


def table(results: Sequence[tuple[str, Any]]) -> str:
    """A Markdown table of (name, result) pairs: a row a device and number of threads, tokens a second by test."""
    rows = [(fixed, tests) for name, result in results for fixed, tests in _row(name, result, name)]
    columns = list(dict.fromkeys(test for _, tests in rows for test in tests))
    lines = [[*_HEAD, *(f"{test} tok/s" for test in columns)], ["---"] * (len(_HEAD) + len(columns))]
    lines += [[*fixed, *(tests.get(test, "") for test in columns)] for fixed, tests in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(name: str, result: Any, where: str) -> list[tuple[list[str], dict[str, str]]]:
    """For each run of a result the cells of _HEAD, and those of its tests. DeployError if a field is not there."""
    try:
        machine, bundle = result["machine"], result["bundle"]
        if result["benchmark"] != _ENGINE or not result["runs"]:
            raise ValueError("no benchmark of duomem")
        rows = []
        for run in result["runs"]:
            fixed = [
                name,
                _text(machine["cpu"]),
                _text(int(machine["cores"])),
                _text(machine["system"]),
                _text(f"{bundle['model']} {bundle['quantization']}"),
                _text(int(run["threads"])),
                f"{float(run['start']['first_token_seconds']):.2f}",
                f"{int(run['peak_rss'][_ENGINE]) / 1e6:.0f}",
            ]
            tests = {}
            for test in run["tests"]:
                ours = test["engines"][_ENGINE]
                tests[_text(test["test"])] = f"{float(ours['mean']):.1f} ± {float(ours['sd']):.1f}"
            rows.append((fixed, tests))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as e:
        raise DeployError(f"{where}: is no result of duomem bench ({type(e).__name__}: {e}): run it again") from None
    return rows


def _text(value: Any) -> str:
    return printable(str(value)).replace("|", "?")[:80]
