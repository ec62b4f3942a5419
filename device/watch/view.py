"""How an episode that is being played reaches a person: drawn again and again on a terminal, in plain lines elsewhere.

A View hears of the episode what Agent.play tells, and asks a person who plays themselves.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live

from duomem.core.chat.faults import NoAnswer
from duomem.core.errors import printable
from duomem.device.agent.agent import Episode
from duomem.device.agent.choice import Choice
from duomem.device.agent.person import Hint
from duomem.device.watch.frame import draw
from duomem.device.watch.numbered import in_order
from duomem.device.watch.story import Story
from duomem.device.world.env import Observation
from duomem.memory_packs.memory import Memory

DELAY = 0.6
"""Seconds that a step stays to be read."""
PROMPT = "a number, or a command in words; q stops: "
_LONGEST_COMMAND = 200
"""Characters that a person may type."""


class View(Protocol):
    """Where an episode is shown."""

    def on_start(self, intro: str, memories: Sequence[Memory], /) -> None:
        """The episode begins."""
        ...

    def on_second_look(self, memories: Sequence[Memory], /) -> None:
        """More memories are shown."""
        ...

    def on_step(self, command: str, observation: Observation, choice: Choice | None, /) -> None:
        """A command was played."""
        ...

    def ask(self, observation: Observation, hint: Hint | None, /) -> str:
        """The person's command. Raises NoAnswer if they play no further."""
        ...

    def end(self, episode: Episode, how: str, /) -> Episode:
        """The episode is over. how: what its tokens went through, in words, "" without tokens.

        Returns it with the time that it took playing, not showing.
        """
        ...


class Screen:
    """A terminal: one frame, drawn again after every step. A context manager."""

    def __init__(self, console: Console, player: str, max_steps: int, delay: float, asks: bool = False) -> None:
        """player: who plays. delay: seconds that each step stays to be read. asks: whether a person plays, who takes
        as long as they like.
        """
        self._paused = 0.0
        self._console = console
        self._player = player
        self._delay = delay
        self._story = Story(max_steps)
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._asks = asks

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_start(self, intro: str, memories: Sequence[Memory], /) -> None:
        """See View."""
        self._story.start(intro, [memory.text() for memory in memories])
        self._show()

    def on_second_look(self, memories: Sequence[Memory], /) -> None:
        """See View."""
        self._story.recall([memory.text() for memory in memories])

    def on_step(self, command: str, observation: Observation, choice: Choice | None, /) -> None:
        """See View."""
        self._story.step(command, observation.text, choice)
        self._show()

    def ask(self, observation: Observation, hint: Hint | None, /) -> str:
        """See View."""
        began = time.perf_counter()
        self._live.stop()
        self._console.clear()
        if hint is not None:
            self._story.consider(hint.choice)
        commands = in_order(observation.admissible)
        frame = draw(
            self._story.now,
            self._player,
            self._console.width,
            self._console.height - 2,
            commands,
            hint.command if hint else "",
        )
        self._console.print(frame)
        command = read_command(commands, PROMPT)
        self._paused += time.perf_counter() - began
        return command

    def end(self, episode: Episode, how: str, /) -> Episode:
        """See View."""
        episode = replace(episode, seconds=episode.seconds - self._paused)
        self._story.end(f"{outcome(episode)} {cost(episode, how)}", episode.won)
        if self._asks:
            self._console.clear()
        self._draw()
        self._live.stop()
        return episode

    def _show(self) -> None:
        """Draw the frame and leave time to read it."""
        if self._asks:
            return
        began = time.perf_counter()
        self._draw()
        time.sleep(self._delay)
        self._paused += time.perf_counter() - began

    def _draw(self) -> None:
        if not self._live.is_started:
            self._live.start()
        width, height = self._console.size
        self._live.update(draw(self._story.now, self._player, width, height - 1), refresh=True)


class Lines:
    """Plain lines, as they come or all at once at the end: for logs, pipes and terminals that cannot draw."""

    def __init__(self, colours: bool, at_once: bool = True) -> None:
        """colours: whether it may be bold. at_once: every line when it is known, not only at the end."""
        self._bold, self._dim, self._plain = ("\033[1m", "\033[2m", "\033[0m") if colours else ("", "", "")
        self._at_once = at_once
        self._lines: list[str] = []
        self._steps = 0

    def on_start(self, intro: str, memories: Sequence[Memory], /) -> None:
        """See View."""
        self._say(_lines(intro))
        self.on_second_look(memories)

    def on_second_look(self, memories: Sequence[Memory], /) -> None:
        """See View."""
        self.recall([memory.text() for memory in memories])

    def recall(self, memories: Sequence[str]) -> None:
        """The texts of memories that are shown."""
        for text in memories:
            self._say(f"{self._dim}memory: {printable(text)}{self._plain}")

    def on_step(self, command: str, observation: Observation, choice: Choice | None, /) -> None:
        """See View."""
        self.step(command, observation.text)

    def step(self, command: str, observation: str) -> None:
        """A command, and the text it brought."""
        self._steps += 1
        self._say(f"{self._dim}{self._steps:3d}{self._plain} {self._bold}> {printable(command)}{self._plain}")
        self._say(f"    {_lines(observation)}")

    def ask(self, observation: Observation, hint: Hint | None, /) -> str:
        """See View."""
        commands = in_order(observation.admissible)
        for number, command in enumerate(commands, 1):
            self._say(f"{number:3d} {printable(command)}")
        if hint is not None:
            for command, probability in hint.choice.candidates if hint.choice else ():
                self._say(f"hint: {printable(command)} {probability:.1%}")
        return read_command(commands, PROMPT)

    def end(self, episode: Episode, how: str, /) -> Episode:
        """See View."""
        self.say_end(outcome(episode), cost(episode, how))
        return episode

    def say_end(self, outcome: str, cost: str) -> None:
        """How it ended; what was not printed at once is printed now."""
        self._say(f"{self._bold}{outcome}{self._plain} {cost}")
        if not self._at_once:
            print("\n".join(self._lines))

    def _say(self, text: str) -> None:
        if self._at_once:
            print(text, flush=True)
        else:
            self._lines.append(text)


@contextlib.contextmanager
def open_view(
    player: str, max_steps: int, at_once: bool = True, delay: float = DELAY, asks: bool = False
) -> Iterator[View]:
    """Where an episode is shown: on a terminal that can draw, else in lines.

    player, delay: see Screen. at_once: whether it is shown while it is played; else it is printed at the end. asks:
    whether a person plays, who needs a terminal to read from as well.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    terminal = sys.stdout.isatty() and not console.is_dumb_terminal
    if terminal and at_once and (sys.stdin.isatty() or not asks):
        with Screen(console, player, max_steps, delay, asks) as screen:
            yield screen
    else:
        yield Lines(terminal, at_once)


def outcome(episode: Episode) -> str:
    """won or lost, or that the player stopped."""
    return "won" if episode.won else "stopped" if episode.ended == "unanswered" else "lost"


def cost(episode: Episode, how: str) -> str:
    """What it took, in words."""
    tokens = f", {episode.prefilled + episode.decoded} tokens {how}" if how else ""
    return f"in {len(episode.trajectory.steps)} steps, {episode.seconds:.1f} s{tokens}"


def read_command(commands: Sequence[str], prompt: str, read: Callable[[str], str] | None = None) -> str:
    """What a person types: the number of a command, or a command in words. Asks again for what is neither.

    Raises NoAnswer for q and at the end of the input.
    """
    while True:
        try:
            said = " ".join((read or input)(prompt).split())
        except EOFError:
            raise NoAnswer("the player stopped") from None
        if said.lower() in ("q", "quit", "exit"):
            raise NoAnswer("the player stopped")
        if said.isdecimal() and len(said) <= 4:
            if 1 <= int(said) <= len(commands):
                return commands[int(said) - 1]
            print(f"there are commands 1 to {len(commands)}", file=sys.stderr)
        elif said and len(said) <= _LONGEST_COMMAND and said.isprintable():
            return said


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())
