"""Recorded episodes shown again: by keys or timed on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from duomem.device.watch.frame import draw
from duomem.device.watch.keys import KEYS, raw_keys, read_key
from duomem.device.watch.lines import Lines
from duomem.device.watch.recorded import Recorded
from duomem.device.watch.story import Moment


class Replay:
    """Where in which episode one is."""

    def __init__(self, episodes: Sequence[Recorded], episode: int) -> None:
        """episode: index of the first one shown."""
        self._episodes = episodes
        self.episode = episode
        self.step = 0
        self._moments = episodes[episode].story().moments

    @property
    def moment(self) -> Moment:
        """What is shown."""
        return self._moments[self.step]

    @property
    def title(self) -> str:
        """Which episode it is, and who played."""
        trajectory = self._episodes[self.episode].trajectory
        return f"{self.episode + 1}/{len(self._episodes)}  {trajectory.player}  {trajectory.task_type}"

    @property
    def at_end(self) -> bool:
        """Whether no step is left."""
        return self.step == len(self._moments) - 1

    def press(self, key: str) -> bool:
        """Go where the key says, see read_key; whether to go on."""
        last = len(self._moments) - 1
        moved = {"next": self.step + 1, "back": self.step - 1, "first": 0, "last": last}
        self.step = min(last, max(0, moved.get(key, self.step)))
        episode = self.episode + {"next episode": 1, "episode before": -1}.get(key, 0)
        if episode != self.episode and 0 <= episode < len(self._episodes):
            self.episode, self.step = episode, 0
            self._moments = self._episodes[episode].story().moments
        return key != "quit"


def replay_on_screen(console: Console, replay: Replay, delay: float | None) -> None:
    """Show it until q is pressed. delay: seconds a step, after which it goes on by itself, to the end; None: keys
    alone.
    """

    def show() -> None:
        width, height = console.size
        frame = draw(replay.moment, replay.title, width, height - 2)
        keys = Text(KEYS, style="dim", no_wrap=True, overflow="ellipsis")
        live.update(Group(frame, keys), refresh=True)

    with raw_keys(), Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        show()
        while not (delay is not None and replay.at_end):
            key = read_key(delay)
            if not replay.press("next" if key is None else key):
                return
            show()


def replay_in_lines(recorded: Recorded, colours: bool, delay: float | None) -> None:
    """Print it. delay: seconds a step."""
    lines = Lines(colours)
    lines.on_start(recorded.trajectory.intro, ())
    lines.recall(recorded.memories)
    for command, observation in recorded.trajectory.turns():
        lines.step(command, observation)
        time.sleep(delay or 0)
    lines.say_end(recorded.outcome, recorded.cost)
