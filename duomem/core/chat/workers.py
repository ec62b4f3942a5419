"""Several workers at once over what one queue holds: how teachers and writers ask a chat model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from duomem.core.chat.model import ChatModel


async def run_workers(work: Callable[[], Awaitable[None]], count: int, model: ChatModel) -> None:
    """Run `work` `count` times at once, until all have ended; then close `model`, which they ask.

    Raises what the first of them raises, once the others are stopped.
    """
    workers = [asyncio.ensure_future(work()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await model.close()
