"""The agent's episodes that clients play: a few at once, each ended when it is idle for long.

Lives on the engine's thread. An episode runs the same policy as `Agent.play`, so it gives the same commands.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from duomem.core.errors import DeviceError, UserError
from duomem.device.agent.agent import Agent
from duomem.device.agent.policy import Policy
from duomem.device.engine.session import ContextFull
from duomem.device.serve.act_request import ActCall
from duomem.device.serve.api_error import ApiError
from duomem.device.serve.metrics import Metrics
from duomem.memory_packs.memory import Memory


@dataclass
class _Episode:
    id: str
    protocol: str
    policy: Policy
    memories: list[Memory]
    used: float
    steps: int = 0
    command: str = field(default="")


class Episodes:
    """The open episodes, by id."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        most: int,
        idle_seconds: float,
        max_steps: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """agents: one for each protocol. most: episodes open at once. idle_seconds: without a call, after which an
        episode ends. max_steps: most commands of one.
        """
        self._agents, self._most, self._idle, self._max_steps = agents, most, idle_seconds, max_steps
        self._metrics, self._clock = metrics, clock
        self._open: dict[str, _Episode] = {}
        metrics.gauge("episodes", lambda: len(self._open))

    def act(self, call: ActCall) -> Generator[dict[str, Any], None, None]:
        """One answer: the next command, or that the episode is done. Raises ApiError."""
        self._end_idle()
        try:
            yield self._step(self._begin(call) if call.session is None else self._find(call), call)
        except DeviceError:
            raise
        except UserError as e:
            raise ApiError(400, str(e), "observation") from None

    def end(self, id: str) -> Generator[dict[str, Any], None, None]:
        """End an episode. Raises ApiError if there is none of this id."""
        self._end_idle()
        if id not in self._open:
            raise _unknown()
        self._close(id)
        yield {"session": id, "done": True}

    def _begin(self, call: ActCall) -> _Episode:
        if len(self._open) >= self._most:
            oldest = min(episode.used for episode in self._open.values())
            wait = max(1, math.ceil(oldest + self._idle - self._clock()))
            raise ApiError(
                503, f"{self._most} episodes are open: end one, or wait", code="episodes_full", retry_after=wait
            )
        memories: list[Memory] = []
        policy = self._agents[call.protocol].policy(call.observation.text, call.game, memories.extend)
        episode = _Episode(secrets.token_urlsafe(16), call.protocol, policy, memories, self._clock())
        self._open[episode.id] = episode
        return episode

    def _find(self, call: ActCall) -> _Episode:
        episode = self._open.get(call.session or "")
        if episode is None:
            raise _unknown()
        if episode.protocol != call.protocol:
            began = "with" if episode.protocol == "constrained" else "without"
            raise ApiError(400, f"admissible: this episode began {began} it: go on so", "admissible")
        episode.used = self._clock()
        episode.policy.observe(episode.command, call.observation)
        return episode

    def _step(self, episode: _Episode, call: ActCall) -> dict[str, Any]:
        if episode.steps == self._max_steps:
            return self._done(episode, "steps")
        try:
            episode.command = episode.policy.act(call.observation)
        except ContextFull:
            return self._done(episode, "context")
        except BaseException:
            self._close(episode.id)
            raise
        episode.steps += 1
        self._metrics.add("commands_total")
        return self._answer(episode, command=episode.command, done=False)

    def _done(self, episode: _Episode, ended: str) -> dict[str, Any]:
        self._close(episode.id)
        return self._answer(episode, command=None, done=True, ended=ended)

    def _answer(self, episode: _Episode, **fields: Any) -> dict[str, Any]:
        memories = [{"id": memory.id, "text": memory.text()} for memory in episode.memories]
        return {"session": episode.id, "step": episode.steps, "memories": memories, **fields}

    def _end_idle(self) -> None:
        now = self._clock()
        for id in [id for id, episode in self._open.items() if now - episode.used >= self._idle]:
            self._close(id)

    def _close(self, id: str) -> None:
        self._open.pop(id).policy.close()


def _unknown() -> ApiError:
    return ApiError(404, "session: no such episode: it ended, or was idle for too long", "session", "session_not_found")
