"""The only place where task, memory, observations and actions become text and tokens.

Training and playing both build an episode here, segment by segment, so a KV cache only ever grows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import ModelError
from duomem.device.agent.tokenizer_file import read_tokenizer, special_tokens
from duomem.device.world.world import World
from duomem.device.world.worlds import load_world

PROMPT_VERSION = 2


def head(intro: str, memories: Sequence[str] = (), world: World | None = None) -> str:
    """What follows the system text: retrieved memories, then the task and the scene. world: ALFWorld if None."""
    world = world or load_world()
    lines = [f"Memory: {memory}\n" for memory in memories]
    return "".join([*lines, f"Task: {world.goal(intro)}\n", f"{world.scene(intro)}\n>"])


class Transcript:
    """The texts of one episode in order: `head`, then alternately an action and `turn` of what it brought."""

    def __init__(
        self, intro: str, memories: Sequence[str] = (), reminder: bool = True, world: World | None = None
    ) -> None:
        """reminder: whether `turn` says what the world reminds of, as ALFWorld does of the places not looked into yet;
        training always does. world: ALFWorld if None.
        """
        self._world = world or load_world()
        self.head = head(intro, memories, self._world)
        self._reminder = self._world.reminder(intro) if reminder else None

    def turn(self, command: str, observation: str) -> str:
        """The text between an action and the next one: what the action brought, and the world's reminder."""
        left = "" if self._reminder is None else self._reminder.observe(command, observation)
        return f"{f'{self._world.shorten(observation)} {left}'.strip()}\n>"


def action(command: str) -> str:
    """A command as the student writes it, its closing newline included."""
    return f" {command}\n"


@dataclass(frozen=True)
class Segment:
    """A piece of an episode. is_target: whether the student writes these tokens, and is trained on them."""

    tokens: tuple[int, ...]
    is_target: bool


class PromptTokenizer:
    """Turns the pieces above into token ids with a student's own tokenizer.

    Every piece is encoded on its own and without special tokens, in training and in playing alike; there is no chat
    template. Before the first one stands what the tokenizer itself begins a text with. world: whose texts they are.
    special_tokens: ids by name. start: ids of what a text begins with, none for most tokenizers.
    """

    def __init__(self, path: Path, vocab_size: int | None = None, world: World | None = None) -> None:
        """`path`: a tokenizer.json, or the folder that holds one. vocab_size: of the model that reads the ids. world:
        ALFWorld if None. Raises what read_tokenizer raises.
        """
        self.world = world or load_world()
        self._tokenizer = read_tokenizer(path, vocab_size)
        self.special_tokens = special_tokens(self._tokenizer)
        newline, text = self.encode("\n"), list(self._tokenizer.encode("\n").ids)
        if not newline:
            raise ModelError(f"{path}: this tokenizer has no token for a newline: take a model of another kind")
        self.newline = newline[-1]
        begins = (n for n in range(len(text)) if text[n : n + len(newline)] == newline)
        self.start = text[: next(begins, 0)]
        if vocab_size is not None and max(self.start, default=0) >= vocab_size:
            raise ModelError(f"{path}: begins a text with a token that its model does not have: copy the model again")

    def encode(self, text: str) -> list[int]:
        """Token ids of one piece; nothing in it becomes a special token."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)

    def system(self) -> list[int]:
        """The fixed first tokens of every episode, a BOS among them if this tokenizer begins texts with one (Gemma's,
        Llama 3's); an engine prefills them once and forks.
        """
        return [*self.start, *self.encode(self.world.system)]

    def head(self, intro: str, memories: Sequence[str] = ()) -> list[int]:
        """Token ids of `head`."""
        return self.encode(head(intro, memories, self.world))

    def action(self, command: str) -> list[int]:
        """Token ids of `action`."""
        return self.encode(action(command))

    def episode(
        self,
        intro: str,
        steps: Sequence[tuple[str, str]],
        memories: Sequence[str] = (),
        noise_steps: Collection[int] = (),
    ) -> list[Segment]:
        """A whole played episode. The last observation is left out: nothing is written after it.

        steps: (command, observation after it). noise_steps: numbers (from 0) of those that are no target: noise, or
        another's.
        """
        transcript = Transcript(intro, memories, world=self.world)
        segments = [Segment(tuple(self.system() + self.encode(transcript.head)), False)]
        for i, (command, observation) in enumerate(steps):
            segments.append(Segment(tuple(self.action(command)), i not in noise_steps))
            if i + 1 < len(steps):
                segments.append(Segment(tuple(self.encode(transcript.turn(command, observation))), False))
        return segments
