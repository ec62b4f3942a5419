"""What prefix reuse saves: seconds to the first token of a prompt, then of another that shares its first tokens.

    python benchmarks/serve.py BUNDLE [--count 20] [--prefix 400]

Runs `duomem serve` and asks it as a client does. The last line is one JSON document. Needs duomem[serve] and openai.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai

from duomem.core.cpu import cpu_name
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.bundle import read_bundle

ROOT = Path(__file__).resolve().parents[1]
_QUESTION = 16


@contextlib.contextmanager
def server(bundle: Path, *options: str) -> Iterator[tuple[str, int]]:
    """`duomem serve` in a process of its own; its address and process id. It has to end well."""
    command = [sys.executable, "-m", "duomem.cli.main", "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[4], process.pid
        assert process.poll() is None, "the server crashed"
    finally:
        process.terminate()
        status = process.wait(60)
    print(process.stdout.read(), end="", file=sys.stderr)
    assert status == 0, f"the server ended with {status}"


def corpus(tokenizer: PromptTokenizer) -> list[int]:
    """Tokens of the documentation."""
    return tokenizer.encode("\n".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))))


def first(bundle: Path, count: int, prefix: int) -> dict[str, Any]:
    """Seconds to the first token of `count` pairs of prompts that share `prefix` tokens."""
    text = corpus(PromptTokenizer(read_bundle(bundle).tokenizer_file))
    rng = random.Random(0)
    cold: list[float] = []
    warm: list[float] = []
    cached: list[int] = []
    with server(bundle) as (url, _):
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
        model = client.models.list().data[0].id
        for n in range(count + 1):  # the first pair warms the machine up
            stem, *ends = (
                text[at : at + length]
                for at, length in zip(
                    rng.sample(range(len(text) - prefix), 3), (prefix, _QUESTION, _QUESTION), strict=True
                )
            )
            for seconds, end in zip((cold, warm), ends, strict=True):
                began = time.perf_counter()
                stream = client.completions.create(
                    model=model,
                    prompt=[*stem, *end],
                    max_tokens=2,
                    temperature=0,
                    stream=True,
                    stream_options={"include_usage": True},
                )
                next(iter(stream))
                if n:
                    seconds.append(time.perf_counter() - began)
                *_, last = stream
                if n and seconds is warm:
                    cached.append(last.usage.prompt_tokens_details.cached_tokens)
    ratios = [a / b for a, b in zip(cold, warm, strict=True)]
    return {
        "prefix": prefix,
        "question": _QUESTION,
        "count": count,
        "cold_median_s": statistics.median(cold),
        "warm_median_s": statistics.median(warm),
        "ratio_median": statistics.median(ratios),
        "ratio_least": min(ratios),
        "cached_tokens": statistics.median(cached),
    }


def main() -> None:
    """Print the machine and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=20, help="pairs of prompts (%(default)s)")
    parser.add_argument("--prefix", type=int, default=400, help="tokens that a pair shares (%(default)s)")
    args = parser.parse_args()
    result = first(args.bundle, args.count, args.prefix)
    print(json.dumps({"cpu": cpu_name(), "threads": os.environ.get("TVM_NUM_THREADS"), **result}))


if __name__ == "__main__":
    main()
