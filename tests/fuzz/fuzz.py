"""Seeded fuzzing: every damaged input is read, or refused in one line, within a second and 200 MB. See `make fuzz`.

The inputs of a reader are read in a process of its own, which is started again after an input that kills it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reader import Reader, state
from readers import READERS

from duomem.core.errors import UserError

SECONDS = 1.0
"""Of the processor's time, for one input."""
BYTES = 200 << 20
"""More than before it, for one input."""
_KILL_SECONDS = 10


def outcome(reader: Reader, file: Path, seed: int) -> str:
    """ "read", "refused", or what is wrong, for the input `seed`."""
    file.write_bytes(reader.damage(state(reader, seed)))
    began = time.process_time()
    try:
        reader.read(file)
        said = "read"
    except UserError as e:
        message = str(e)
        said = "refused" if message.isprintable() and len(message) < 5000 else f"message: {message[:300]!r}"
    except Exception as e:
        said = f"{type(e).__name__}: {str(e)[:300]}"
    spent = time.process_time() - began
    return said if spent <= SECONDS or said not in ("read", "refused") else f"slow: {spent:.1f} s, {said}"


def fuzz(name: str, seeds: range, script: Path = Path(__file__)) -> Iterator[dict[str, Any]]:
    """The outcome of each input of a reader, in order. script: the worker's program."""
    at = seeds.start
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    while at < seeds.stop:
        began = at
        command = [sys.executable, str(script), "--worker", name, str(at), str(seeds.stop)]
        with tempfile.TemporaryFile("w+") as errors:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as worker:
                assert worker.stdout is not None
                for line in worker.stdout:
                    yield json.loads(line)
                    at += 1
            errors.seek(0)
            complaint = errors.read().strip()
        if at == began and "Traceback" in complaint:
            raise RuntimeError(f"{name}: the reader's own sample is not read: {complaint[-2000:]}")
        if at < seeds.stop:
            yield {
                "reader": name,
                "seed": at,
                "outcome": f"killed its process: {worker.returncode}: {complaint[-300:]}",
            }
            at += 1


def _work(name: str, seeds: range) -> None:
    (kind,) = [kind for kind in READERS if kind.name == name]
    with tempfile.TemporaryDirectory(prefix="duomem-fuzz-") as folder:
        (Path(folder) / "reader").mkdir()
        reader, file = kind(Path(folder) / "reader"), Path(folder) / "input"
        file.write_bytes(reader.sample)
        reader.read(file)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, now + BYTES))
        for seed in seeds:
            signal.setitimer(signal.ITIMER_VIRTUAL, _KILL_SECONDS)
            row = {"reader": name, "seed": seed, "outcome": outcome(reader, file, seed)}
            print(json.dumps(row), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="in all")
    parser.add_argument("--start", type=int, default=0, help="number of the first input of each reader")
    parser.add_argument("--reader", choices=[kind.name for kind in READERS], action="append")
    parser.add_argument("--worker", nargs=3, metavar=("READER", "FIRST", "END"))
    options = parser.parse_args()
    if options.worker:
        name, first, end = options.worker
        _work(name, range(int(first), int(end)))
        return 0
    names = options.reader or [kind.name for kind in READERS]
    each = -(-options.inputs // len(names))
    bad = 0
    for name in names:
        counts: Counter[str] = Counter()
        for row in fuzz(name, range(options.start, options.start + each)):
            good = row["outcome"] in ("read", "refused")
            counts[row["outcome"] if good else "wrong"] += 1
            if not good:
                print(f"{name} {row['seed']}: {row['outcome']}", flush=True)
        print(f"{name}: {each} inputs, {dict(counts)}", flush=True)
        bad += counts["wrong"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
