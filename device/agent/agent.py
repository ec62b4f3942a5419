"""The agent: one compiled model, one environment, one episode; the model's own likelihoods decide every command.

Two protocols: `constrained` picks the likeliest admissible command, `free` writes the command itself. In both the
action filter withholds no-op and repeated commands (action_filter.py), unless it is off.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from duomem.core.trajectory import Trajectory
from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.constrained_decoding import choose
from duomem.device.agent.free_decoding import decode_command
from duomem.device.agent.model_policy import MeteredSession, ModelPolicy
from duomem.device.agent.prompt import PromptTokenizer, Transcript, goal_sentence
from duomem.device.agent.rollout import OnStep, rollout
from duomem.device.alfworld.env import Env, Observation
from duomem.device.alfworld.game import Game
from duomem.device.engine.session import Engine, Session
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever

PROTOCOLS = ("constrained", "free")
MAX_STEPS = 50


@dataclass(frozen=True)
class Episode:
    """trajectory: what was played; memories: what was shown; seconds: wall time; prefilled, decoded: tokens run
    through the model; ended: see Rollout.
    """

    trajectory: Trajectory
    memories: tuple[Memory, ...]
    seconds: float
    prefilled: int
    decoded: int
    ended: str


class Agent:
    """Plays episodes with one engine. The system text is prefilled once and forked for every episode."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PromptTokenizer,
        player: str,
        protocol: str,
        memories: Sequence[Memory] = (),
        k: int = 1,
        max_steps: int = MAX_STEPS,
        action_filter: bool = True,
    ) -> None:
        """player: name written into trajectories. protocol: one of PROTOCOLS. memories: a pack's, of which the `k`
        nearest to the goal are shown. action_filter: whether no-op and repeated commands are withheld.

        Raises ValueError for an unknown protocol, UserError if the engine is too small.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {PROTOCOLS}")
        self._tokenizer = tokenizer
        self._player = player
        self._retriever = Retriever(memories) if memories else None
        self._k = k
        self._max_steps = max_steps
        self._action_filter = action_filter
        self._decode = self._decode_constrained if protocol == "constrained" else self._decode_free
        self._system = engine.session()
        try:
            self._system.prefill(tokenizer.system())
        except BaseException:
            self._system.close()
            raise

    def play(
        self,
        env: Env,
        game: Game,
        split: str,
        on_start: Callable[[str, Sequence[Memory]], None] = lambda intro, memories: None,
        on_step: OnStep = lambda command, observation: None,
    ) -> Episode:
        """Play `game` to the end. A memory of this very game is never shown.

        on_start: called with the intro and the memories shown. on_step: see rollout.
        """
        started = time.perf_counter()
        observation = env.reset(game)
        memories = self._recall(goal_sentence(observation.text), game.digest)
        on_start(observation.text, memories)
        transcript = _transcript(observation.text, memories)  # fails, if at all, before a session is open
        session = MeteredSession(self._system.fork())
        with contextlib.closing(self._policy(session, observation.text, transcript)) as policy:
            played = rollout(env, policy, observation, self._max_steps, on_step)
        return Episode(
            played.trajectory(game, split, self._player),
            memories,
            time.perf_counter() - started,
            session.prefilled,
            session.decoded,
            played.ended,
        )

    def policy(self, intro: str, game: str) -> ModelPolicy:
        """The model's policy for an episode that the caller runs, and closes.

        intro: the first observation's text. game: digest of the game, of which no memory is shown.
        """
        transcript = _transcript(intro, self._recall(goal_sentence(intro), game))
        return self._policy(self._system.fork(), intro, transcript)

    def close(self) -> None:
        """Give the shared prefix back to the engine."""
        self._system.close()

    def _policy(self, session: Session, intro: str, transcript: Transcript) -> ModelPolicy:
        action_filter = ActionFilter(intro) if self._action_filter else None
        return ModelPolicy(session, self._tokenizer, self._decode, transcript, action_filter)

    def _recall(self, goal: str, game: str) -> tuple[Memory, ...]:
        if self._retriever is None:
            return ()
        return tuple(m for _, m in self._retriever.search(goal, self._k, lambda m: m.game != game))

    def _decode_constrained(
        self, session: Session, logits: np.ndarray, observation: Observation, withheld: Container[str]
    ) -> tuple[str, list[int]]:
        admissible = [c for c in observation.admissible if c not in withheld] or observation.admissible
        commands = [self._tokenizer.action(c) for c in admissible]
        choice = choose(session, logits, commands)
        return admissible[choice.index], commands[choice.index][choice.cached :]

    def _decode_free(
        self, session: Session, logits: np.ndarray, observation: Observation, withheld: Container[str]
    ) -> tuple[str, list[int]]:
        return decode_command(session, logits, self._tokenizer, withheld)


def _transcript(intro: str, memories: Sequence[Memory]) -> Transcript:
    return Transcript(intro, [m.text() for m in memories])
