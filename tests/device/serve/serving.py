"""A server in this process, on a free port of loopback, and clients of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fakes import Opinion, random_opinion

from duomem.device.agent.evaluate import PlayConfig
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import Engine
from duomem.device.serve.app import make_app
from duomem.device.serve.engine_thread import EngineThread
from duomem.device.serve.metrics import Metrics
from duomem.device.serve.server import listen, make_server
from duomem.device.serve.student import Student
from duomem.memory_packs.retriever import Retriever

NAME = "fake"
VOCAB = 300
END = 257
"""The chat tokenizer's <|im_end|>."""


@dataclass
class Served:
    """A running server. url: without a path. server: uvicorn's."""

    url: str
    metrics: Metrics
    thread: EngineThread
    server: Any

    def openai(self, **options: Any) -> Any:
        """The official client; it tries once."""
        import openai

        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=options.pop("api_key", "none"), max_retries=0, timeout=60, **options
        )

    def http(self, **options: Any) -> Any:
        """A plain HTTP client."""
        import httpx

        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)

    def wait_for(self, metric: str, value: float) -> None:
        """Wait until a counter without labels has come to `value`."""
        wait_until(lambda: self.metrics.value(metric) >= value)


def wait_until(condition: Any) -> None:
    """Wait for a condition; fails after ten seconds."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "this never came true"
        time.sleep(0.005)


Serve = Callable[..., Served]


@contextlib.contextmanager
def serving(
    engine: Engine,
    tokenizer: Path,
    *,
    token: str | None = None,
    queue: int = 16,
    kept: int = 2,
    episodes: int = 2,
    retriever: Retriever | None = None,
    play: PlayConfig | None = None,
    stop_ids: tuple[int, ...] = (END,),
    idle: float = 600,
) -> Iterator[Served]:
    """A server with this engine until the block ends."""
    metrics = Metrics()
    thread = EngineThread(queue, metrics)
    listener = listen("127.0.0.1", 0, token)

    def make() -> Student:
        return Student(
            NAME,
            engine,
            PromptTokenizer(tokenizer),
            metrics,
            stop_ids=stop_ids,
            kept=kept,
            episodes=episodes,
            idle_seconds=idle,
            play=play or PlayConfig(),
            retriever=retriever,
        )

    server = make_server(make_app(thread.call(make), thread, metrics, token), thread, queue, 1)
    running = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    running.start()
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", metrics, thread, server)
    finally:
        server.should_exit = True
        running.join(20)
        thread.stop()
        thread.join()
        assert not running.is_alive()


def text_opinion(seed: int = 0) -> Opinion:
    """A student that writes letters, spaces and now and then an end."""
    base = random_opinion(VOCAB, seed)
    allowed = np.full(VOCAB, -30.0, np.float32)
    allowed[32:90] = 0  # the byte-level alphabet is sorted: letters and marks
    allowed[END] = -4

    def opinion(tokens: tuple[int, ...]) -> np.ndarray:
        return base(tokens) + allowed

    return opinion


def greedy(opinion: Opinion, prompt: Sequence[int], n: int, ends: Sequence[int] = (END,)) -> list[int]:
    """The tokens an engine without any server writes after `prompt`, at most `n`, an end included."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + n and (len(tokens) == len(prompt) or tokens[-1] not in ends):
        tokens.append(int(opinion(tuple(tokens)).argmax()))
    return tokens[len(prompt) :]
