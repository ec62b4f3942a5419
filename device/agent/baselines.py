"""Policies without a model, to hold a student against: random commands, and a string matcher that follows memories.

Both keep the Policy contract and read what a player reads; neither knows task types or how goals are worded.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.device.agent.action_filter import ActionFilter, allowed
from duomem.device.agent.policy import Policy
from duomem.device.world.env import Observation
from duomem.device.world.world import World
from duomem.device.world.worlds import load_world
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import words

_NUMBER = re.compile(r" \d+\b")
_PREPOSITION = re.compile(r" (?:from|in|to|with) ")
_GO = "go to "
_WALKS = (_GO, "search ")
_PUTS = ("move ", "put ")
_SKIPPED = ("open ", "close ", "examine ", "avoid ", "look", "inventory", "help")


class RandomPolicy(Policy):
    """Every admissible command is equally likely, "help" and "look" too."""

    def __init__(self, seed: str, action_filter: ActionFilter | None = None) -> None:
        """seed: of the draws; one that names the game gives every game its own. action_filter: what it withholds is
        not drawn, unless nothing else is left; None for none.
        """
        self._random = random.Random(seed)
        self._action_filter = action_filter

    def act(self, observation: Observation, /) -> str:
        """The next command."""
        return self._random.choice(allowed(observation.admissible, self._action_filter))

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command` brought, for the action filter."""
        if self._action_filter is not None:
            self._action_filter.observe(command, observation.text)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class _Stage:
    """A step to play. command: without numbers, "take mug". wanted: what has to be found for it ("mug"), "" where the
    step itself says the place. kinds: kinds of places to walk to, best first.
    """

    command: str
    wanted: str
    kinds: tuple[str, ...]


class MatcherPolicy(Policy):
    """Follows the steps of the memories in order, the nearest one first, by comparing strings alone.

    A step is played as soon as an admissible command equals it without the instance numbers. Until then it opens what
    it stands at and walks: to where a text named the step's object, to the kinds of places that the memory names,
    then to all others. No object it has moved is taken a second time. After the last memory it begins again.

    To be a strong baseline it first adapts the steps to the goal, see `exchange_words`.
    """

    def __init__(
        self,
        intro: str,
        memories: Sequence[Memory],
        action_filter: ActionFilter | None = None,
        world: World | None = None,
    ) -> None:
        """intro: the first observation's text. memories: nearest first, none: it only walks. action_filter: what it
        withholds is not played, unless nothing else is left; None for none. world: ALFWorld if None. Raises ModelError
        for an intro without a goal.
        """
        goal = (world or load_world()).goal(intro)
        adapted = [exchange_words(memory, goal) for memory in memories]
        self._plans = [stages for memory in adapted if (stages := _stages(memory))] or [[_Stage("", "", ())]]
        self._action_filter = action_filter
        self._plan, self._next = 0, 0
        self._here = ""
        self._texts: dict[str, str] = {}
        self._visited: set[str] = set()
        self._held = ""
        self._moved: set[str] = set()
        self._played: Counter[str] = Counter()

    def act(self, observation: Observation, /) -> str:
        """The next command."""
        commands = allowed(observation.admissible, self._action_filter)
        if self._held and self._stage.command == f"take {_kind(self._held)}":
            self._advance()
        stage = self._stage
        if self._held and stage.command.startswith("take "):
            puts = [c for c in commands if c.startswith(_PUTS)]
            if puts:
                return puts[0]
        for command in commands:
            if _comparable(command) == stage.command and not self._is_moved(command):
                return command
        at_hand = (self._here,) if self._here else stage.kinds
        for command in commands:
            if command.startswith("open ") and command.removeprefix("open ") in at_hand:
                return command
        return self._walk(commands)

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command`, its own or another's, brought."""
        self._played[command] += 1
        if self._action_filter is not None:
            self._action_filter.observe(command, observation.text)
        if observation.text == NOTHING_HAPPENS:
            return
        if command.startswith(_GO):
            self._here = command.removeprefix(_GO)
            self._visited.add(self._here)
        if command.startswith((_GO, "open ")):
            self._texts[self._here] = observation.text
        if command.startswith("take "):
            self._held = _thing(command)
        if command.startswith(_PUTS):
            self._moved.add(_thing(command))
            self._held = ""
        if _comparable(command) == self._stage.command:
            self._advance()

    def close(self) -> None:
        """Nothing is held."""

    @property
    def _stage(self) -> _Stage:
        return self._plans[self._plan][self._next]

    def _advance(self) -> None:
        self._visited = set()
        self._next += 1
        if self._next == len(self._plans[self._plan]):
            self._plan, self._next = (self._plan + 1) % len(self._plans), 0

    def _is_moved(self, command: str) -> bool:
        return command.startswith("take ") and _thing(command) in self._moved

    def _walk(self, commands: Sequence[str]) -> str:
        """Go where the step may be possible; in a world without places to go to, try what was tried least."""
        places = [c.removeprefix(_GO) for c in commands if c.startswith(_GO)]
        if not places:
            return min(commands, key=self._played.__getitem__)
        if self._visited.issuperset(places):
            self._visited = set()
        return _GO + min(places, key=lambda p: self._rank(p, Counter(map(_kind, places))))

    def _rank(self, place: str, instances: Mapping[str, int]) -> tuple[bool, bool, bool, int, int]:
        """The lower, the sooner. Of kinds that no memory names, a kind of few instances is looked through sooner."""
        stage, kind, text = self._stage, _kind(place), self._texts.get(place, "")
        named = set(re.findall(rf"\b{re.escape(stage.wanted)} \d+", text)) - self._moved if stage.wanted else set()
        rank = stage.kinds.index(kind) if kind in stage.kinds else len(stage.kinds)
        return place in self._visited, not named, bool(stage.wanted and text), rank, instances[kind]


def exchange_words(memory: Memory, goal: str) -> Memory:
    """The memory with its steps' words of its own task exchanged for those that `goal` has in their place, in order:
    of "put a mug in desk" for the goal "put a mug in shelf", one that moves the mug to shelf. As it is, where
    the two sentences differ in more than such words.

    goal: a goal sentence; it is read as words, whatever they mean.
    """
    own, others = words(memory.task), words(goal)
    old = [w for w in own if w not in others]
    new = [w for w in others if w not in own]
    if len(old) != len(new) or not all(any(re.search(rf"\b{w}\b", step) for step in memory.steps) for w in old):
        return memory
    exchanged = dict(zip(old, new, strict=True))
    return replace(
        memory, steps=tuple(re.sub(r"[a-z]+", lambda m: exchanged.get(m[0], m[0]), step) for step in memory.steps)
    )


def _kind(name: str) -> str:
    return _NUMBER.sub("", name)


def _thing(command: str) -> str:
    """The object of a command: "take mug 1 from desk 2" -> "mug 1"."""
    return _PREPOSITION.split(command.partition(" ")[2])[0]


def _comparable(command: str) -> str:
    """A command as steps are compared: without numbers, and without where a thing lay."""
    return _NUMBER.sub("", command).split(" from ")[0]


def _stages(memory: Memory) -> list[_Stage]:
    stages: list[_Stage] = []
    kinds: list[str] = []
    for step in memory.steps:
        step = _NUMBER.sub("", step)
        if step.startswith(_WALKS):
            kinds += step.removeprefix(_GO).removeprefix("search ").split(", ")
        elif not step.startswith(_SKIPPED):
            command = _comparable(step)
            own = _PREPOSITION.split(step)[1:]
            wanted = "" if _PREPOSITION.search(command) else _thing(command)
            stages.append(_Stage(command, wanted, tuple(dict.fromkeys([*own, *kinds]))))
            kinds = []
    return stages
