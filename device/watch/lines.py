"""An episode in plain lines: for logs, pipes and terminals that cannot draw."""

from __future__ import annotations

from collections.abc import Sequence

from duomem.core.errors import printable
from duomem.device.agent.agent import Episode
from duomem.device.agent.choice import Choice
from duomem.device.agent.person import Hint
from duomem.device.watch.numbered import in_order
from duomem.device.watch.typed import PROMPT, read_command
from duomem.device.world.env import Observation
from duomem.memory_packs.memory import Memory


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


def outcome(episode: Episode) -> str:
    """won or lost, or that the player stopped."""
    return "won" if episode.won else "stopped" if episode.ended == "unanswered" else "lost"


def cost(episode: Episode, how: str) -> str:
    """What it took, in words."""
    tokens = f", {episode.prefilled + episode.decoded} tokens {how}" if how else ""
    return f"in {len(episode.trajectory.steps)} steps, {episode.seconds:.1f} s{tokens}"


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())
