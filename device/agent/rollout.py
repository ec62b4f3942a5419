"""The episode loop: one policy plays one game from its first observation to the end.

Whoever plays, this loop runs it, and a trajectory is assembled here alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from duomem.core.chat.faults import NoAnswer
from duomem.core.trajectory import Step, Trajectory, Usage
from duomem.device.agent.choice import Choice
from duomem.device.agent.policy import AsyncPolicy, Policy
from duomem.device.engine.session import ContextFull
from duomem.device.world.env import Env, Observation
from duomem.device.world.game import Game

OnStep = Callable[[str, Observation, Choice | None], None]
"""Called after every step with the command, what it brought and why it was played, if the policy can tell."""


def ignore(command: str, observation: Observation, choice: Choice | None) -> None:
    """An OnStep for who wants to hear of none."""


@dataclass(frozen=True)
class Rollout:
    """intro: the first observation's text; steps: what was played; last: the observation after the last step;
    ended: "won", "steps" (none left), "context" (the policy's is full) or "unanswered" (it has no command); choices:
    why each step was played, empty if the policy cannot tell.
    """

    intro: str
    steps: tuple[Step, ...]
    last: Observation
    ended: str
    choices: tuple[Choice, ...]

    def trajectory(self, game: Game, split: str, player: str, seed: int = 0, usage: Usage | None = None) -> Trajectory:
        """The episode as written to files. player: who played and its revision; seed: of its random draws; usage: what
        it cost, None where that is not counted.
        """
        task_type, object_type, target_type = game.triple
        return Trajectory(
            game=game.digest,
            group=game.group,
            split=split,
            task_type=task_type,
            object_type=object_type,
            target_type=target_type,
            goal=game.task,
            goal_source=game.goal_source,
            template_goal=game.template,
            intro=self.intro,
            steps=self.steps,
            last=self.last.text,
            won=self.last.won,
            player=player,
            seed=seed,
            usage=usage,
            world=game.world,
        )


class _Course:
    """What is played so far. observation: what the next command is chosen for."""

    def __init__(
        self, env: Env, policy: Policy | AsyncPolicy, observation: Observation, max_steps: int, on_step: OnStep
    ) -> None:
        self.observation = observation
        self._env = env
        self._policy = policy
        self._intro = observation.text
        self._max_steps = max_steps
        self._on_step = on_step
        self._steps: list[Step] = []
        self._choices: list[Choice] = []

    @property
    def goes_on(self) -> bool:
        return len(self._steps) < self._max_steps and not self.observation.done

    def play(self, command: str) -> None:
        """Play what the policy chose, and tell it what that brought."""
        seen, policy = self.observation, self._policy
        self._steps.append(Step(seen.text, seen.admissible, command, policy.is_noise, policy.thought))
        self.observation = self._env.step(command)
        if policy.choice is not None:
            self._choices.append(policy.choice)
        self._on_step(command, self.observation, policy.choice)
        policy.observe(command, self.observation)

    def rollout(self, ended: str | None = None) -> Rollout:
        """ended: what cut it short."""
        last = self.observation
        ended = ended or ("won" if last.won else "steps")
        return Rollout(self._intro, tuple(self._steps), last, ended, tuple(self._choices))


def rollout(
    env: Env,
    policy: Policy,
    observation: Observation,
    max_steps: int,
    on_step: OnStep = ignore,
) -> Rollout:
    """Play until the game is won, `max_steps` commands are played, the policy's context is full or it has no command.

    env: just reset. policy: made for this game; the caller closes it. observation: what the reset gave.
    """
    course = _Course(env, policy, observation, max_steps, on_step)
    try:
        while course.goes_on:
            course.play(policy.act(course.observation))
    except ContextFull:
        return course.rollout("context")
    except NoAnswer:
        return course.rollout("unanswered")
    return course.rollout()


async def rollout_async(
    env: Env,
    policy: AsyncPolicy,
    observation: Observation,
    max_steps: int,
    on_step: OnStep = ignore,
) -> Rollout:
    """As `rollout`, with a policy whose commands are waited for."""
    course = _Course(env, policy, observation, max_steps, on_step)
    try:
        while course.goes_on:
            course.play(await policy.act(course.observation))
    except ContextFull:
        return course.rollout("context")
    except NoAnswer:
        return course.rollout("unanswered")
    return course.rollout()
