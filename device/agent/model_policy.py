"""The model as a policy: a session that holds the episode so far, and a protocol that decodes the next command."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from duomem.device.agent.action_filter import ActionFilter, withheld
from duomem.device.agent.choice import Choice, likeliest
from duomem.device.agent.free_decoding import Written
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PromptTokenizer, Transcript
from duomem.device.engine.session import Session
from duomem.device.world.env import Observation

Decode = Callable[[Session, np.ndarray, Observation, Container[str]], Written]
"""(session, logits after its last token, observation, withheld commands) -> the command."""


class ModelPolicy(Policy):
    """One episode as the model sees it. The session only ever grows by what training showed at this place."""

    def __init__(
        self,
        session: Session,
        tokenizer: PromptTokenizer,
        decode: Decode,
        transcript: Transcript,
        action_filter: ActionFilter | None,
        history: Sequence[tuple[str, Observation]] = (),
    ) -> None:
        """session: holds the system text; `close` closes it. decode: one of Agent's protocols. action_filter: None
        for none. history: turns played already, which the action filter knows of: (command, what it brought).
        """
        self._meter = Meter()
        self._session = MeteredSession(session, self._meter)
        self._tokenizer = tokenizer
        self._decode = decode
        self._transcript = transcript
        self._action_filter = action_filter
        self._before, self._command = 0, ""
        self._pending = tokenizer.encode(transcript.head)
        for command, observation in history:
            self._pending += tokenizer.action(command)
            self._tell(command, observation)

    def act(self, observation: Observation, /) -> str:
        """The model's next command. Raises ContextFull."""
        self._meter.start()
        logits = self._session.prefill(self._pending)
        before = self._session.length
        written = self._decode(self._session, logits, observation, self._action_filter or ())
        self._before, self._command, self._pending = before, written.command, written.rest
        self.choice = self._meter.choice(
            likeliest(written.candidates), withheld(observation.admissible, self._action_filter)
        )
        return written.command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command`, the model's last one or another that was played instead, brought."""
        if command != self._command:
            self._session.rollback(self._session.length - self._before)
            self._pending = self._tokenizer.action(command)
        if self._action_filter is not None:
            self._action_filter.observe(command, observation.text)
        self._tell(command, observation)

    def _tell(self, command: str, observation: Observation) -> None:
        self._pending = [*self._pending, *self._tokenizer.encode(self._transcript.turn(command, observation.text))]

    def close(self) -> None:
        """Give the session back to the engine."""
        self._session.close()


@dataclass
class Meter:
    """Tokens run through a session since the last `start`, and when that was."""

    prefilled: int = 0
    decoded: int = 0
    started: float = 0.0

    def start(self) -> None:
        """Begin with the next command."""
        self.prefilled = self.decoded = 0
        self.started = time.perf_counter()

    def choice(self, candidates: tuple[tuple[str, float], ...], withheld: tuple[str, ...]) -> Choice:
        """The command's Choice, as of now."""
        return Choice(candidates, withheld, time.perf_counter() - self.started, self.prefilled, self.decoded)


class MeteredSession:
    """A session that counts the tokens run through it."""

    def __init__(self, session: Session, meter: Meter) -> None:
        """meter: what they are added to."""
        self._session = session
        self._meter = meter

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._session.length

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        """See Session."""
        self._meter.prefilled += len(tokens)
        return self._session.prefill(tokens)

    def decode(self, token: int) -> np.ndarray:
        """See Session."""
        self._meter.decoded += 1
        return self._session.decode(token)

    def rollback(self, n: int) -> None:
        """See Session."""
        self._session.rollback(n)

    def fork(self) -> Session:
        """See Session; what runs through the fork is not counted."""
        return self._session.fork()

    def close(self) -> None:
        """See Session."""
        self._session.close()
