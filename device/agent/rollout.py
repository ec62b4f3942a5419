"""The episode loop: one policy plays one game from its first observation to the end.

Whoever plays, this loop runs it, and a trajectory is assembled here alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from duomem.core.trajectory import Step, Trajectory
from duomem.device.agent.policy import Policy
from duomem.device.alfworld.env import Env, Observation
from duomem.device.alfworld.game import Game
from duomem.device.engine.session import ContextFull

OnStep = Callable[[str, Observation], None]
"""Called after every step with the command and what it brought."""


@dataclass(frozen=True)
class Rollout:
    """intro: the first observation's text; steps: what was played; last: the observation after the last step;
    ended: "won", "steps" (none left) or "context" (the policy's is full).
    """

    intro: str
    steps: tuple[Step, ...]
    last: Observation
    ended: str

    def trajectory(self, game: Game, split: str, player: str, seed: int = 0) -> Trajectory:
        """The episode as written to files. player: who played and its revision; seed: of its random draws."""
        return Trajectory(
            game=game.digest,
            group=game.path.parent.parent.name,
            split=split,
            task_type=game.task_type,
            object_type=game.goal.object_type,
            target_type=game.goal.target_type,
            goal=game.task,
            goal_source=game.goal_source,
            template_goal=game.template,
            intro=self.intro,
            steps=self.steps,
            last=self.last.text,
            won=self.last.won,
            player=player,
            seed=seed,
        )


def rollout(
    env: Env,
    policy: Policy,
    observation: Observation,
    max_steps: int,
    on_step: OnStep = lambda command, observation: None,
) -> Rollout:
    """Play until the game is won, `max_steps` commands are played or the policy's context is full.

    env: just reset. policy: made for this game; the caller closes it. observation: what the reset gave.
    """
    intro = observation.text
    steps: list[Step] = []
    try:
        while len(steps) < max_steps and not observation.done:
            command = policy.act(observation)
            steps.append(Step(observation.text, observation.admissible, command, policy.is_noise))
            observation = env.step(command)
            on_step(command, observation)
            policy.observe(command, observation)
    except ContextFull:
        return Rollout(intro, tuple(steps), observation, "context")
    return Rollout(intro, tuple(steps), observation, "won" if observation.won else "steps")
