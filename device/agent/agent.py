"""The agent: one compiled model, one environment, one episode; the model's own likelihoods decide every command.

Two protocols: `constrained` picks the likeliest admissible command, `free` writes the command itself. In both the
action filter withholds no-op and repeated commands (action_filter.py), unless it is off.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duomem.core.errors import BundleError, PackError
from duomem.core.files import sha256_input
from duomem.core.trajectory import Trajectory
from duomem.device.agent.action_filter import ActionFilter, allowed
from duomem.device.agent.chat_policy import ChatExample, ChatPolicy, ChatTokenizer, read_examples
from duomem.device.agent.choice import BEGINNING, Choice
from duomem.device.agent.constrained_decoding import choose
from duomem.device.agent.free_decoding import Written, decode_command
from duomem.device.agent.model_policy import ModelPolicy
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PROMPT_VERSION, PromptTokenizer, Transcript
from duomem.device.agent.recall import recall
from duomem.device.agent.rollout import OnStep, ignore, rollout
from duomem.device.agent.second_look import SecondLook, Turn
from duomem.device.engine.bundle import Bundle
from duomem.device.engine.manifest import MANIFEST
from duomem.device.engine.session import Engine, Session
from duomem.device.world.env import Env, Observation
from duomem.device.world.game import Game
from duomem.device.world.world import World
from duomem.device.world.worlds import load_world
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.overlay import Overlay
from duomem.memory_packs.pack import Pack, read_pack
from duomem.memory_packs.retriever import MAX_MEMORIES, Retriever

PROTOCOLS = ("constrained", "free")
MAX_STEPS = 50


@dataclass(frozen=True)
class Episode:
    """One played game and what it cost.

    trajectory: what was played. memories: what was shown. seconds: wall time. ended, choices: see Rollout.
    """

    trajectory: Trajectory
    memories: tuple[Memory, ...]
    seconds: float
    ended: str
    choices: tuple[Choice, ...] = ()

    @property
    def prefilled(self) -> int:
        """Tokens run through the student several at a time."""
        return sum(choice.prefilled for choice in self.choices)

    @property
    def decoded(self) -> int:
        """Tokens run through the student one at a time."""
        return sum(choice.decoded for choice in self.choices)

    @property
    def won(self) -> bool:
        """Whether the goal was reached."""
        return self.trajectory.won

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands given, in order."""
        return tuple(step.action for step in self.trajectory.steps)


def check_prompt_version(bundle: Bundle) -> None:
    """Raises BundleError if the bundle's student was trained on other prompts than this duomem's."""
    if bundle.prompt_version not in (None, PROMPT_VERSION):
        raise BundleError(
            f"{bundle.folder / MANIFEST}: field prompt_version is {bundle.prompt_version}, this "
            f"duomem prompts in version {PROMPT_VERSION}: compile a student trained with this duomem"
        )


def pack_for(world: World, path: Path) -> Pack:
    """The pack in a file. Raises PackError if it was not made for this world, or what read_pack raises."""
    pack = read_pack(path)
    if pack.environment != world.name:
        raise PackError(f"{path}: holds memories of {pack.environment}, not of {world.name}: give a pack of this world")
    return pack


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
        second_look: bool = True,
        chat_examples: Sequence[ChatExample] | None = None,
        overlay: Overlay | None = None,
    ) -> None:
        """player: name written into trajectories. protocol: one of PROTOCOLS. retriever: a pack's, finds at most `k`
        memories for the goal, which are shown; None for none. action_filter: whether no-op and repeated commands are
        withheld. reminder: see Transcript. second_look: whether memories of other goals are shown after a while, see
        SecondLook; never to a chat. chat_examples: played games; with them the model is asked as a chat model, see
        ChatPolicy. None for the prompt that students are trained on. overlay: of the retriever's pack; it chooses among
        the memories, and every episode played is written to it. None for no learning.

        Raises ValueError for an unknown protocol and for a chat in the free one, UserError if the engine is too small
        or the tokenizer has no chat format.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {PROTOCOLS}")
        if chat_examples is not None and protocol != "constrained":
            raise ValueError(f"a chat is played constrained, not {protocol}")
        self._tokenizer = tokenizer
        self._world = tokenizer.world
        self._player = player
        self._memories = retriever if overlay is None else overlay
        self._overlay = overlay
        self._k = k
        self._max_steps = max_steps
        self._action_filter = action_filter
        self._reminder = reminder
        self._second_look = second_look
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
        second_look: bool = True,
        chat_examples: Path | str | None = None,
        overlay: Overlay | None = None,
        world: World | None = None,
    ) -> Agent:
        """Load a compiled bundle, and the memories it plays with.

        bundle: folder written by `compile_bundle`. pack: .dmpack file, None for no memories.
        protocol: "constrained" picks the likeliest admissible command, "free" writes the command token by token.
        k: most memories shown. max_steps: most steps an episode. context_length: most tokens an episode may take, the
        bundle's own by default. device: "auto", "cpu", "vulkan", "cuda" or "metal".
        action_filter: whether no-op and repeated commands are withheld. reminder: whether the model is told which
        places it has not looked into yet. second_look: whether an episode that is not won after 20 steps goes on with
        memories of other goals that the sentence may mean. chat_examples: trajectory file; a model that was not trained
        here is asked as a chat model and shown two games of this file. overlay: what was learned beside `pack` while
        playing; every episode is added to it. world: what is played, ALFWorld if None.
        Raises BundleError, PackError, TrajectoryError, or DeviceError if this machine cannot run the bundle.
        """
        from duomem.device.engine.tvm_engine import TvmEngine

        found = None if pack is None else pack_for(world or load_world(), Path(pack))
        examples = None if chat_examples is None else read_examples(Path(chat_examples))
        engine = TvmEngine.load(Path(bundle), device, context_length)
        folder = engine.bundle.folder
        check_prompt_version(engine.bundle)
        player = f"student:{sha256_input(folder / MANIFEST, 'bundle')[:12]}"
        tokenizer = PromptTokenizer(engine.bundle.tokenizer_file, engine.vocab_size, world)
        retriever = found.retriever if found and found.memories else None
        return cls(
            engine,
            tokenizer,
            player,
            protocol,
            retriever,
            k,
            max_steps,
            action_filter,
            reminder,
            second_look,
            examples,
            overlay,
        )

    def play(
        self,
        game: Game,
        split: str | None = None,
        env: Env | None = None,
        on_start: Callable[[str, Sequence[Memory]], None] = lambda intro, memories: None,
        on_step: OnStep = ignore,
        on_second_look: Callable[[Sequence[Memory]], None] = lambda memories: None,
    ) -> Episode:
        """Play `game` to the end. A memory of this very game alone is never shown.

        split: recorded in the trajectory, by default the game's own.
        env: the engine to play in, a new one of the world by default. on_start: called with the intro and the memories
        shown first. on_step: see OnStep. on_second_look: called with the memories
        shown later, if any are.
        """
        started = time.perf_counter()
        env = env or self._world.make_env()
        observation = env.reset(game)
        memories = recall(self._memories, observation.text, self._k, game.digest, world=self._world)
        on_start(observation.text, memories)
        others: list[Memory] = []

        def look(found: Sequence[Memory]) -> None:
            others.extend(found)
            on_second_look(found)

        with contextlib.closing(self._policy(observation.text, memories, game.digest, look)) as policy:
            played = rollout(env, policy, observation, self._max_steps, on_step)
        trajectory = played.trajectory(game, split or game.split, self._player)
        if self._overlay is not None:
            if others:
                self._overlay.record(memories, False)
            won = write_memory(trajectory) if trajectory.won else None
            self._overlay.record(others or memories, trajectory.won, won, trajectory.split)
        return Episode(
            trajectory,
            (*memories, *others),
            time.perf_counter() - started,
            played.ended,
            played.choices,
        )

    def policy(
        self, intro: str, game: str, on_recall: Callable[[Sequence[Memory]], None] = lambda memories: None
    ) -> Policy:
        """The model's policy for an episode that the caller runs, and closes.

        intro: the first observation's text. game: digest of the game, of which no memory is shown. on_recall: called
        with the memories shown first, and again with those shown later, if any are.
        """
        memories = recall(self._memories, intro, self._k, game, world=self._world)
        on_recall(memories)
        return self._policy(intro, memories, game, on_recall)

    def close(self) -> None:
        """Give the shared prefix back to the engine."""
        self._system.close()

    def _policy(
        self,
        intro: str,
        memories: Sequence[Memory],
        game: str,
        on_second_look: Callable[[Sequence[Memory]], None] = lambda memories: None,
    ) -> Policy:
        """memories: those shown first. game: its digest."""
        action_filter = ActionFilter(intro) if self._action_filter else None

        def make(shown: Sequence[Memory], history: Sequence[Turn] = ()) -> Policy:
            session = self._system.fork()
            try:
                texts = [m.text() for m in shown]
                if self._chat is not None:
                    return ChatPolicy(session, self._chat, intro, texts, action_filter)
                transcript = Transcript(intro, texts, self._reminder, self._world)
                return ModelPolicy(session, self._tokenizer, self._decode, transcript, action_filter, history)
            except BaseException:
                session.close()
                raise

        others: Sequence[Memory] = ()
        if self._second_look and self._chat is None and memories:
            others = recall(self._memories, intro, max(1, self._k - 1), game, memories, self._world)

        def again(history: Sequence[Turn]) -> Policy:
            on_second_look(others)
            return make([*others, *memories][: self._k], history)

        first = make(memories)
        return SecondLook(first, again) if others else first

    def _decode_constrained(
        self, session: Session, logits: np.ndarray, observation: Observation, withheld: Container[str]
    ) -> Written:
        admissible = allowed(observation.admissible, withheld)
        commands = [self._tokenizer.action(c) for c in admissible]
        best = choose(session, logits, commands)

        def beginning(index: int, n: int) -> str:
            whole = n == len(commands[index])
            return admissible[index] if whole else self._tokenizer.decode(commands[index][:n]).strip() + BEGINNING

        met = [(best.index, len(commands[best.index]), best.log_likelihood), *best.others]
        candidates = [(beginning(index, n), math.exp(log_likelihood)) for index, n, log_likelihood in met]
        return Written(admissible[best.index], commands[best.index][best.cached :], candidates)

    def _decode_free(
        self, session: Session, logits: np.ndarray, observation: Observation, withheld: Container[str]
    ) -> Written:
        return decode_command(session, logits, self._tokenizer, withheld)
