"""The model as a policy: a session that holds the episode so far, and a protocol that decodes the next command."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PromptTokenizer, Transcript
from duomem.device.engine.session import Session
from duomem.device.world.env import Observation

Decode = Callable[[Session, np.ndarray, Observation, Container[str]], tuple[str, list[int]]]
"""(session, logits after its last token, observation, withheld commands) -> (command, its tokens that the session
does not hold yet)."""


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
        self._session = session
        self._tokenizer = tokenizer
        self._decode = decode
        self._transcript = transcript
        self._action_filter = action_filter
        self._pending = tokenizer.encode(transcript.head)
        for command, observation in history:
            self._pending += tokenizer.action(command)
            self._tell(command, observation)

    def act(self, observation: Observation, /) -> str:
        """The model's next command. Raises ContextFull."""
        logits = self._session.prefill(self._pending)
        command, self._pending = self._decode(self._session, logits, observation, self._action_filter or ())
        return command

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command`, the model's last one, brought."""
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
    """Tokens run through the sessions of an episode so far."""

    prefilled: int = 0
    decoded: int = 0


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
