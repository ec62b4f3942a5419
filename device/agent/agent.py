"""The agent: one student, one world, one episode; the student's word alone decides every command.

Two protocols: `constrained` picks the likeliest admissible command, `free` writes the command itself. In both it is
kept from commands that would be in vain (action_filter.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duomem.core.errors import BundleError
from duomem.core.files import sha256_input
from duomem.core.trajectory import Step, Trajectory
from duomem.device.agent.action_filter import ActionFilter
from duomem.device.agent.constrained_decoding import choose
from duomem.device.agent.free_decoding import write
from duomem.device.agent.prompt import PROMPT_VERSION, PromptTokenizer, Transcript, goal_sentence
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.env import Env, Observation
from duomem.device.alfworld.game import Game
from duomem.device.alfworld.game_files import split_of
from duomem.device.engine.bundle import MANIFEST
from duomem.device.engine.session import ContextFull, Engine, Session
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import Retriever

PROTOCOLS = ("constrained", "free")
MAX_STEPS = 50

Write = Callable[[Session, np.ndarray, Observation, Container[str]], tuple[str, list[int]]]
"""(session, logits after its last token, observation, commands not to give) -> (command, its tokens that the session
does not hold yet)."""


@dataclass(frozen=True)
class Episode:
    """One played game and what it cost.

    trajectory: what was played. memories: what was shown. seconds: wall time. prefilled, decoded: tokens run
    through the student. ended: "won", "steps" (none left) or "context" (none left).
    """

    trajectory: Trajectory
    memories: tuple[Memory, ...]
    seconds: float
    prefilled: int
    decoded: int
    ended: str

    @property
    def won(self) -> bool:
        """Whether the goal was reached."""
        return self.trajectory.won

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands given, in order."""
        return tuple(step.action for step in self.trajectory.steps)


class _Meter:
    """A session that counts the tokens run through it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.prefilled = 0
        self.decoded = 0

    @property
    def length(self) -> int:
        return self._session.length

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        self.prefilled += len(tokens)
        return self._session.prefill(tokens)

    def decode(self, token: int) -> np.ndarray:
        self.decoded += 1
        return self._session.decode(token)

    def rollback(self, n: int) -> None:
        self._session.rollback(n)

    def fork(self) -> Session:
        return self._session.fork()

    def close(self) -> None:
        self._session.close()


class Conversation:
    """One episode as the student lives it: what it is told, and what it answers."""

    def __init__(
        self,
        session: Session,
        tokenizer: PromptTokenizer,
        write: Write,
        transcript: Transcript,
        action_filter: ActionFilter | None,
    ) -> None:
        """`session` holds the system text and is closed by `close`; `write`: a protocol of Agent's; `tabu`: what is
        kept of commands in vain, None if they are let pass.
        """
        self._session = session
        self._tokenizer = tokenizer
        self._write = write
        self._transcript = transcript
        self._action_filter = action_filter
        self._pending = tokenizer.encode(transcript.head)

    def act(self, observation: Observation) -> str:
        """The student's next command. Raises ContextFull."""
        logits = self._session.prefill(self._pending)
        command, self._pending = self._write(self._session, logits, observation, self._action_filter or ())
        return command

    def observe(self, command: str, text: str) -> None:
        """What `command`, its last answer, brought."""
        if self._action_filter is not None:
            self._action_filter.observe(command, text)
        self._pending = [*self._pending, *self._tokenizer.encode(self._transcript.turn(command, text))]

    def close(self) -> None:
        """Give the session back to the engine."""
        self._session.close()


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
        """`player`: name written into trajectories; `memories`: a pack's, of which the `k` nearest to the
        goal are shown; `tabu`: whether the student is kept from commands in vain. Raises ValueError for an
        unknown protocol, UserError if the engine is too small.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {PROTOCOLS}")
        self._tokenizer = tokenizer
        self._player = player
        self._retriever = Retriever(memories) if memories else None
        self._k = k
        self._max_steps = max_steps
        self._action_filter = action_filter
        self._write = self._write_constrained if protocol == "constrained" else self._write_free
        self._system = engine.session()
        try:
            self._system.prefill(tokenizer.system())
        except BaseException:
            self._system.close()
            raise

    @classmethod
    def load(
        cls,
        bundle: Path | str,
        *,
        pack: Path | str | None = None,
        protocol: str = "constrained",
        k: int = 1,
        max_steps: int = MAX_STEPS,
        context_length: int | None = None,
        device: str = "auto",
        action_filter: bool = True,
    ) -> Agent:
        """Load a compiled bundle, and the memories it plays with.

        bundle: folder written by `compile_bundle`. pack: .dmpack file, None for no memories.
        protocol: "constrained" picks the likeliest admissible command, "free" writes the command token by token.
        k: memories shown. max_steps: most steps an episode. context_length: most tokens an episode may take, the
        bundle's own by default. device: "auto", "cpu", "vulkan", "cuda" or "metal".
        action_filter: whether commands that brought nothing new are passed over.
        Raises BundleError, PackError, or DeviceError if this machine cannot run the bundle.
        """
        from duomem.device.engine.tvm_engine import TvmEngine

        bundle = Path(bundle)
        memories = () if pack is None else read_pack(pack).memories
        engine = TvmEngine.load(bundle, device, context_length)
        if engine.bundle.prompt_version not in (None, PROMPT_VERSION):
            raise BundleError(
                f"{bundle / MANIFEST}: field prompt_version is {engine.bundle.prompt_version}, this "
                f"duomem prompts in version {PROMPT_VERSION}: compile a student trained with this duomem"
            )
        player = f"student:{sha256_input(bundle / MANIFEST, 'bundle')[:12]}"
        tokenizer = PromptTokenizer(bundle / "model")
        return cls(engine, tokenizer, player, protocol, memories, k, max_steps, action_filter)

    def play(
        self,
        game: Game,
        split: str | None = None,
        env: Env | None = None,
        on_start: Callable[[str, Sequence[Memory]], None] = lambda intro, memories: None,
        on_step: Callable[[str, Observation], None] = lambda command, observation: None,
    ) -> Episode:
        """Play `game` to the end. A memory of this very game is never shown.

        split: recorded in the trajectory, by default the one the game's folder names (see `split_of`).
        env: the engine to play in, a new AlfworldEnv by default. on_start: called with the intro and the memories
        shown. on_step: called after every command with what it brought.
        """
        started = time.perf_counter()
        env = env or AlfworldEnv()
        observation = env.reset(game)
        intro = observation.text
        memories = self._recall(goal_sentence(intro), game.digest)
        on_start(intro, memories)
        transcript = _transcript(intro, memories)  # fails, if at all, before a session is open
        session = _Meter(self._system.fork())
        talk = self._converse(session, intro, transcript)
        steps: list[Step] = []
        ended = "steps"
        try:
            while len(steps) < self._max_steps:
                command = talk.act(observation)
                before, observation = observation, env.step(command)
                steps.append(Step(before.text, before.admissible, command))
                on_step(command, observation)
                if observation.won:
                    ended = "won"
                    break
                talk.observe(command, observation.text)
        except ContextFull:
            ended = "context"
        finally:
            talk.close()
        trajectory = Trajectory(
            game.digest,
            game.path.parent.parent.name,
            split or split_of(game.path),
            game.task_type,
            game.task,
            intro,
            tuple(steps),
            observation.text,
            observation.won,
            self._player,
            0,
        )
        return Episode(trajectory, memories, time.perf_counter() - started, session.prefilled, session.decoded, ended)

    def converse(self, intro: str, game: str) -> Conversation:
        """An episode whose world the caller plays: its first observation, and the digest of a game of which no
        memory is shown.
        """
        transcript = _transcript(intro, self._recall(goal_sentence(intro), game))
        return self._converse(self._system.fork(), intro, transcript)

    def close(self) -> None:
        """Give the shared prefix back to the engine."""
        self._system.close()

    def _converse(self, session: Session, intro: str, transcript: Transcript) -> Conversation:
        return Conversation(
            session, self._tokenizer, self._write, transcript, ActionFilter(intro) if self._action_filter else None
        )

    def _recall(self, goal: str, game: str) -> tuple[Memory, ...]:
        if self._retriever is None:
            return ()
        return tuple(m for _, m in self._retriever.search(goal, self._k, lambda m: m.game != game))

    def _write_constrained(
        self, session: Session, logits: np.ndarray, observation: Observation, action_filter: Container[str]
    ) -> tuple[str, list[int]]:
        admissible = [c for c in observation.admissible if c not in action_filter] or observation.admissible
        commands = [self._tokenizer.action(c) for c in admissible]
        choice = choose(session, logits, commands)
        return admissible[choice.index], commands[choice.index][choice.cached :]

    def _write_free(
        self, session: Session, logits: np.ndarray, observation: Observation, action_filter: Container[str]
    ) -> tuple[str, list[int]]:
        return write(session, logits, self._tokenizer, action_filter)


def _transcript(intro: str, memories: Sequence[Memory]) -> Transcript:
    return Transcript(intro, [m.text() for m in memories])
