"""An episode followed step by step: for each moment, all that there is to show of it.

The same whether it is being played, or read from its record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from duomem.core.episode_words import NOTHING_HAPPENS
from duomem.core.errors import ModelError
from duomem.device.agent.choice import Choice
from duomem.device.watch.memory_progress import MemoryProgress
from duomem.device.watch.seen import Seen
from duomem.device.world.worlds import load_world


@dataclass(frozen=True)
class Moment:
    """What there is to show after a step, or at the start.

    step: how many were played. max_steps: the most there may be, None where that is not known. command: the last one,
    "" at the start. observation: what it brought. choice: why it was played, None where nobody can tell. memories:
    those shown, and how far each is followed. ended: how the episode ended, in words, "" while it goes on.
    """

    goal: str
    step: int
    max_steps: int | None
    seen: Seen
    command: str
    observation: str
    choice: Choice | None
    memories: tuple[MemoryProgress, ...]
    ended: str = ""
    won: bool = False

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens that the model read and wrote for the command, a second."""
        if self.choice is None or self.choice.seconds <= 0:
            return None
        return (self.choice.prefilled + self.choice.decoded) / self.choice.seconds


class Story:
    """The moments of one episode so far."""

    def __init__(self, max_steps: int | None = None) -> None:
        self.moments: list[Moment] = []
        self._max_steps = max_steps

    @property
    def now(self) -> Moment:
        """The last one."""
        return self.moments[-1]

    def start(self, intro: str, memories: Sequence[str] = ()) -> None:
        """The episode begins. memories: texts of those shown."""
        try:
            goal = load_world().goal(intro)
        except ModelError:
            goal = ""
        shown = tuple(map(MemoryProgress.of, memories))
        self.moments = [Moment(goal, 0, self._max_steps, Seen.of(intro), "", intro, None, shown)]

    def recall(self, memories: Sequence[str]) -> None:
        """These memories come on top."""
        shown = (*map(MemoryProgress.of, memories), *self.now.memories)
        self.moments[-1] = replace(self.now, memories=shown)

    def step(self, command: str, observation: str, choice: Choice | None) -> None:
        """A command was played."""
        now = self.now
        done = observation != NOTHING_HAPPENS
        self.moments.append(
            replace(
                now,
                step=now.step + 1,
                seen=now.seen.after(observation),
                command=command,
                observation=observation,
                choice=choice,
                memories=tuple(memory.after(command) if done else memory for memory in now.memories),
            )
        )

    def end(self, how: str, won: bool) -> None:
        """The episode is over. how: in words."""
        self.moments[-1] = replace(self.now, ended=how, won=won)

    def consider(self, choice: Choice | None) -> None:
        """What would be played next, for whoever plays themselves."""
        self.moments[-1] = replace(self.now, choice=choice)
