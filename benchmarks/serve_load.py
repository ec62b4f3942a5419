"""`duomem serve` under many clients at once: every answer and command is compared with the engine's and agent's own.

    python benchmarks/serve_load.py BUNDLE [--minutes 10] [--clients 64] [--pack FILE --games DIR]

Clients ask for whole answers and streams, some leave early; with --games three play episodes over /v1/act. The last
line is one JSON document. Needs duomem[serve], openai and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
from serve import corpus, server

from duomem.core.cpu import cpu_name
from duomem.device.agent.agent import Agent
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.tvm_engine import TvmEngine
from duomem.device.serve.prefix_cache import PIECE
from duomem.memory_packs.pack import read_pack

_ANSWER = 12
_LEAVES = 0.1
"""Share of the streams whose client leaves after two tokens."""


@dataclass(frozen=True)
class Asked:
    """A request and the tokens that the engine writes for it without a server."""

    prompt: list[int]
    expected: list[int]


@dataclass
class Tally:
    """What the clients saw. kinds: answers by kind; wrong: those that differ; rss: (second, MB) of the server."""

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    rss: list[tuple[float, float]] = field(default_factory=list)


def offline(engine: TvmEngine, prompt: Sequence[int], piece: int) -> list[int]:
    """The likeliest tokens after `prompt`, run in pieces, on the engine itself."""
    session = engine.session()
    for at in range(0, len(prompt), piece):
        logits = session.prefill(prompt[at : at + piece])
    written: list[int] = []
    while True:
        written.append(int(logits.argmax()))
        if len(written) == _ANSWER or written[-1] in engine.bundle.eos_token_ids:
            session.close()
            return written
        logits = session.decode(written[-1])


async def ask(client: Any, model: str, asked: Asked, rng: random.Random, tally: Tally) -> None:
    """One request of a client; what it is told is compared."""
    kind = rng.choice(("whole", "stream"))
    leaves = kind == "stream" and rng.random() < _LEAVES
    answer = await client.completions.create(
        model=model,
        prompt=asked.prompt,
        max_tokens=_ANSWER,
        temperature=0,
        stream=kind == "stream",
        extra_body={"return_token_ids": True},
    )
    tokens: list[int] = []
    if kind == "whole":
        tokens = answer.choices[0].token_ids
    else:
        async for chunk in answer:
            tokens += chunk.choices[0].token_ids
            if leaves and len(tokens) >= 2:
                await answer.close()
                break
    tally.kinds["left" if leaves else kind] += 1
    tally.wrong += tokens != asked.expected[: len(tokens) if leaves else None]


async def play(url: str, game: Game, commands: Sequence[str], tally: Tally) -> None:
    """An episode over /v1/act; its commands are compared."""
    env = AlfworldEnv()
    seen = env.reset(game)
    call: dict[str, Any] = {"observation": seen.text, "game": game.digest}
    async with httpx.AsyncClient(base_url=url, timeout=600) as client:
        for expected in commands:
            while True:
                answer = await client.post("act", json={**call, "admissible": list(seen.admissible)})
                if answer.status_code != 503:
                    break
                tally.kinds["told to wait"] += 1
                await asyncio.sleep(float(answer.headers["Retry-After"]))
            told = answer.raise_for_status().json()
            tally.wrong += told["command"] != expected
            seen = env.step(expected)
            call = {"session": told["session"], "observation": seen.text}
        await client.delete(f"act/{call['session']}")
    tally.kinds["episode"] += 1


async def crowd(url: str, pid: int, args: argparse.Namespace, asks: list[Asked], plays: list[Any]) -> Tally:
    """All clients at once, until the time is up."""
    tally = Tally()
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=20, timeout=600)
    model = (await client.models.list()).data[0].id
    began = time.monotonic()
    end = began + 60 * args.minutes

    async def one(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < end:
            try:
                if number < len(plays):
                    await play(url, *plays[number], tally)
                else:
                    await ask(client, model, rng.choice(asks), rng, tally)
            except (openai.APIError, httpx.HTTPError) as e:
                print(f"{time.monotonic() - began:.0f} s: {type(e).__name__}: {e}", file=sys.stderr)
                tally.kinds["failed"] += 1
                await asyncio.sleep(5)

    async def watch() -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            tally.rss.append((time.monotonic() - began, pages * page / 1e6))
            await asyncio.sleep(5)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(one(number) for number in range(args.clients)))
    watching.cancel()
    return tally


def load(args: argparse.Namespace) -> dict[str, Any]:
    """Run the clients and compare; asserts nothing, the figures say it."""
    bundle = read_bundle(args.bundle)
    tokenizer = PromptTokenizer(bundle.tokenizer_file, bundle.vocab_size)
    text, rng = corpus(tokenizer), random.Random(1)
    engine = TvmEngine.open(bundle)
    stems = [text[at : at + 300] for at in rng.sample(range(len(text) - 300), 6)]
    asks, whole = [], 0
    for _ in range(48):
        at, stem = rng.randrange(len(text) - 60), rng.choice(stems)
        prompt = [*stem[: rng.choice((80, 200, 300))], *text[at : at + rng.randrange(4, 60)]]
        asks.append(Asked(prompt, offline(engine, prompt, PIECE)))
        whole += offline(engine, prompt, 512) == asks[-1].expected
    plays, options = [], []
    if args.games:
        pack = read_pack(args.pack)
        agent = Agent(engine, tokenizer, "", "constrained", pack.retriever)
        games = [load_game(path) for path in rng.sample(find_games(args.games, "train"), 3)]
        plays = [(game, agent.play(game).commands) for game in games]
        options = ["--pack", str(args.pack)]
        agent.close()
    del engine
    with server(args.bundle, *options) as (url, pid):
        tally = asyncio.run(crowd(url, pid, args, asks, plays))
        metrics = httpx.get(url.replace("/v1", "/metrics"), trust_env=False).text
    counted = {
        name: float(value)
        for name, value in (line.split() for line in metrics.splitlines() if line.startswith("duomem_tokens"))
    }
    settled = [mb for second, mb in tally.rss if second >= 60 * args.minutes / 5]
    quarter = max(1, len(settled) // 4)
    return {
        "clients": args.clients,
        "minutes": args.minutes,
        "answers": tally.kinds,
        "wrong": tally.wrong,
        "whole_prefill_same": f"{whole}/{len(asks)}",
        "rss_mb": {
            "start": tally.rss[0][1],
            "most": max(mb for _, mb in tally.rss),
            "settled_first_quarter": statistics.mean(settled[:quarter]),
            "settled_last_quarter": statistics.mean(settled[-quarter:]),
        },
        **counted,
    }


def main() -> None:
    """Print the machine and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="%(default)s")
    parser.add_argument("--clients", type=int, default=64, help="%(default)s")
    parser.add_argument("--pack", type=Path, help="memory pack for the episodes")
    parser.add_argument("--games", type=Path, help="games of which three train games are played, none without")
    args = parser.parse_args()
    if (args.pack is None) != (args.games is None):
        parser.error("give --pack and --games, or neither")
    print(json.dumps({"cpu": cpu_name(), "threads": os.environ.get("TVM_NUM_THREADS"), **load(args)}))


if __name__ == "__main__":
    main()
