"""How an episode that is being played reaches a person: drawn again and again on a terminal, in plain lines elsewhere.

A View hears of the episode what Agent.play tells, and asks a person who plays themselves.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live

from duomem.device.agent.agent import Episode
from duomem.device.agent.choice import Choice
from duomem.device.agent.person import Hint
from duomem.device.watch.frame import draw
from duomem.device.watch.lines import Lines, cost, outcome
from duomem.device.watch.numbered import in_order
from duomem.device.watch.story import Story
from duomem.device.watch.typed import PROMPT, read_command
from duomem.device.world.env import Observation
from duomem.memory_packs.memory import Memory

DELAY = 0.6
"""Seconds that a step stays to be read."""


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
        return read_command(commands, PROMPT)

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
