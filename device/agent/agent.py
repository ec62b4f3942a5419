"""The agent: one compiled model, one environment, one episode; the model's own likelihoods decide every command.

Two protocols: `constrained` picks the likeliest admissible command, `free` writes the command itself. In both the
action filter withholds no-op and repeated commands (action_filter.py), unless it is off.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duomem.core.errors import BundleError
from duomem.core.files import sha256_input
from duomem.core.scene import kinds_of, receptacles
from duomem.core.trajectory import Trajectory
from duomem.device.agent.action_filter import ActionFilter, allowed
from duomem.device.agent.chat_policy import ChatExample, ChatPolicy, ChatTokenizer, read_examples
from duomem.device.agent.constrained_decoding import choose
from duomem.device.agent.free_decoding import decode_command
from duomem.device.agent.model_policy import MeteredSession, ModelPolicy
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PROMPT_VERSION, PromptTokenizer, Transcript, goal_sentence
from duomem.device.agent.rollout import OnStep, rollout
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.env import Env, Observation
from duomem.device.alfworld.game import Game
from duomem.device.alfworld.game_files import split_of
from duomem.device.engine.manifest import MANIFEST
from duomem.device.engine.session import Engine, Session
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import MAX_MEMORIES, Retriever

PROTOCOLS = ("constrained", "free")
MAX_STEPS = 50


@dataclass(frozen=True)
class Episode:
    """One played game and what it cost.

    trajectory: what was played. memories: what was shown. seconds: wall time. prefilled, decoded: tokens run
    through the student. ended: see Rollout.
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


class Agent:
    """Plays episodes with one engine. The system text is prefilled once and forked for every episode."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PromptTokenizer,
        player: str,
        protocol: str,
        retriever: Retriever | None = None,
        k: int = MAX_MEMORIES,
        max_steps: int = MAX_STEPS,
        action_filter: bool = True,
        reminder: bool = True,
        chat_examples: Sequence[ChatExample] | None = None,
    ) -> None:
        """player: name written into trajectories. protocol: one of PROTOCOLS. retriever: a pack's, finds at most `k`
        memories for the goal, which are shown; None for none. action_filter: whether no-op and repeated commands are
        withheld. reminder: see Transcript. chat_examples: played games; with them the model is asked as a chat model,
        see ChatPolicy. None for the prompt that students are trained on.

        Raises ValueError for an unknown protocol and for a chat in the free one, UserError if the engine is too small
        or the tokenizer has no chat format.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {PROTOCOLS}")
        if chat_examples is not None and protocol != "constrained":
            raise ValueError(f"a chat is played constrained, not {protocol}")
        self._tokenizer = tokenizer
        self._player = player
        self._retriever = retriever
        self._k = k
        self._max_steps = max_steps
        self._action_filter = action_filter
        self._reminder = reminder
        self._chat = None if chat_examples is None else ChatTokenizer(tokenizer)
        self._decode = self._decode_constrained if protocol == "constrained" else self._decode_free
        self._system = engine.session()
        try:
            self._system.prefill(self._chat.prefix(chat_examples or ()) if self._chat else tokenizer.system())
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
        k: int = MAX_MEMORIES,
        max_steps: int = MAX_STEPS,
        context_length: int | None = None,
        device: str = "auto",
        action_filter: bool = True,
        reminder: bool = True,
        chat_examples: Path | str | None = None,
    ) -> Agent:
        """Load a compiled bundle, and the memories it plays with.

        bundle: folder written by `compile_bundle`. pack: .dmpack file, None for no memories.
        protocol: "constrained" picks the likeliest admissible command, "free" writes the command token by token.
        k: most memories shown. max_steps: most steps an episode. context_length: most tokens an episode may take, the
        bundle's own by default. device: "auto", "cpu", "vulkan", "cuda" or "metal".
        action_filter: whether no-op and repeated commands are withheld. reminder: whether the model is told which
        places it has not looked into yet. chat_examples: trajectory file; a model that was not trained here is asked as
        a chat model and shown two games of this file.
        Raises BundleError, PackError, TrajectoryError, or DeviceError if this machine cannot run the bundle.
        """
        from duomem.device.engine.tvm_engine import TvmEngine

        bundle = Path(bundle)
        found = None if pack is None else read_pack(pack)
        examples = None if chat_examples is None else read_examples(Path(chat_examples))
        engine = TvmEngine.load(bundle, device, context_length)
        if engine.bundle.prompt_version not in (None, PROMPT_VERSION):
            raise BundleError(
                f"{bundle / MANIFEST}: field prompt_version is {engine.bundle.prompt_version}, this "
                f"duomem prompts in version {PROMPT_VERSION}: compile a student trained with this duomem"
            )
        player = f"student:{sha256_input(bundle / MANIFEST, 'bundle')[:12]}"
        tokenizer = PromptTokenizer(bundle / "model")
        retriever = found.retriever if found and found.memories else None
        return cls(engine, tokenizer, player, protocol, retriever, k, max_steps, action_filter, reminder, examples)

    def play(
        self,
        game: Game,
        split: str | None = None,
        env: Env | None = None,
        on_start: Callable[[str, Sequence[Memory]], None] = lambda intro, memories: None,
        on_step: OnStep = lambda command, observation: None,
    ) -> Episode:
        """Play `game` to the end. A memory of this very game alone is never shown.

        split: recorded in the trajectory, by default the one the game's folder names (see `split_of`).
        env: the engine to play in, a new AlfworldEnv by default. on_start: called with the intro and the memories
        shown. on_step: called after every command with what it brought.
        """
        started = time.perf_counter()
        env = env or AlfworldEnv()
        observation = env.reset(game)
        memories = recall(self._retriever, observation.text, self._k, game.digest)
        on_start(observation.text, memories)
        session = MeteredSession(self._system.fork())
        with contextlib.closing(self._policy(session, observation.text, memories)) as policy:
            played = rollout(env, policy, observation, self._max_steps, on_step)
        return Episode(
            played.trajectory(game, split or split_of(game.path), self._player),
            memories,
            time.perf_counter() - started,
            session.prefilled,
            session.decoded,
            played.ended,
        )

    def policy(self, intro: str, game: str) -> Policy:
        """The model's policy for an episode that the caller runs, and closes.

        intro: the first observation's text. game: digest of the game, of which no memory is shown.
        """
        return self._policy(self._system.fork(), intro, recall(self._retriever, intro, self._k, game))

    def close(self) -> None:
        """Give the shared prefix back to the engine."""
        self._system.close()

    def _policy(self, session: Session, intro: str, memories: Sequence[Memory]) -> Policy:
        """session: closed by the policy, and here if none can be made."""
        try:
            action_filter = ActionFilter(intro) if self._action_filter else None
            texts = [m.text() for m in memories]
            if self._chat is not None:
                return ChatPolicy(session, self._chat, intro, texts, action_filter)
            transcript = Transcript(intro, texts, self._reminder)
            return ModelPolicy(session, self._tokenizer, self._decode, transcript, action_filter)
        except BaseException:
            session.close()
            raise

    def _decode_constrained(
        self, session: Session, logits: np.ndarray, observation: Observation, withheld: Container[str]
    ) -> tuple[str, list[int]]:
        admissible = allowed(observation.admissible, withheld)
        commands = [self._tokenizer.action(c) for c in admissible]
        choice = choose(session, logits, commands)
        return admissible[choice.index], commands[choice.index][choice.cached :]

    def _decode_free(
        self, session: Session, logits: np.ndarray, observation: Observation, withheld: Container[str]
    ) -> tuple[str, list[int]]:
        return decode_command(session, logits, self._tokenizer, withheld)


def recall(retriever: Retriever | None, intro: str, k: int, game: str) -> tuple[Memory, ...]:
    """At most `k` memories for the goal that an intro tells, best first, none of them of the game itself alone.

    retriever: of the pack played with, None for no memories. game: its digest. A memory that other games support too
    is shown: a pack built without this game would hold it.
    """
    if retriever is None:
        return ()
    found = retriever.search(
        goal_sentence(intro), k, lambda m: m.without((game,)) is not None, kinds_of(receptacles(intro))
    )
    return tuple(m for _, m in found)
