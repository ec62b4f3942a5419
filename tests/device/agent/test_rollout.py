"""One loop for every policy: what it asks, what it tells, where it ends, and the trajectory it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from duomem.core.chat.faults import NoAnswer
from duomem.core.trajectory import Step, from_json
from duomem.device.agent.choice import Choice
from duomem.device.agent.policy import AsyncPolicy, Policy
from duomem.device.agent.rollout import rollout, rollout_async
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.session import ContextFull
from duomem.device.world.env import Observation


class Script(Policy):
    """Plays given commands; those with an ! are marked as noise. Without one left its context is full."""

    def __init__(self, commands: Iterable[str]) -> None:
        self._left = list(commands)
        self.seen: list[Observation] = []
        self.told: list[tuple[str, Observation]] = []

    def act(self, observation: Observation, /) -> str:
        self.seen.append(observation)
        if not self._left:
            raise ContextFull("no command left")
        command = self._left.pop(0)
        self.is_noise = command.startswith("!")
        return command.removeprefix("!")

    def observe(self, command: str, observation: Observation, /) -> None:
        self.told.append((command, observation))


@pytest.fixture(scope="module")
def game(generated_games: Path) -> Game:
    return load_game(find_games(generated_games, "train")[0])


def test_a_walkthrough_wins(game: Game) -> None:
    env, policy, watched = AlfworldEnv(), Script(game.walkthrough), []
    first = env.reset(game)
    played = rollout(env, policy, first, 50, lambda command, seen, choice: watched.append((command, seen)))
    assert played.ended == "won" and played.last.won and played.intro == first.text
    assert [step.action for step in played.steps] == list(game.walkthrough)
    assert [step.observation for step in played.steps] == [observation.text for observation in policy.seen]
    assert [step.admissible for step in played.steps] == [observation.admissible for observation in policy.seen]
    assert policy.told == watched and policy.seen[1:] == [seen for _, seen in policy.told[:-1]]
    assert policy.told[-1] == (game.walkthrough[-1], played.last)


def test_what_a_policy_says_of_its_choices_is_kept(game: Game) -> None:
    """In order; a policy that says nothing leaves none."""

    class Counting(Script):
        choice: Choice | None = None

        def act(self, observation: Observation, /) -> str:
            self.choice = Choice((), (), 0.0, len(self.seen), 0)
            return super().act(observation)

    env, told = AlfworldEnv(), []
    played = rollout(env, Counting(["look"] * 3), env.reset(game), 3, lambda command, seen, choice: told.append(choice))
    assert played.choices == tuple(told) and [choice.prefilled for choice in told] == [0, 1, 2]
    assert rollout(env, Script(["look"]), env.reset(game), 1).choices == ()


def test_a_won_game_is_over(game: Game) -> None:
    """No command is asked for once the goal holds, not even the first."""
    env = AlfworldEnv()
    env.reset(game)
    for command in game.walkthrough:
        last = env.step(command)
    played = rollout(env, Script([]), last, 50)
    assert (played.steps, played.last, played.ended) == ((), last, "won")


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_no_more_steps_than_allowed(game: Game, limit: int) -> None:
    env, policy = AlfworldEnv(), Script(["look"] * 9)
    played = rollout(env, policy, env.reset(game), limit)
    assert (len(played.steps), played.ended, len(policy.seen)) == (limit, "steps", limit)


def test_a_win_with_the_last_step_is_a_win(game: Game) -> None:
    env = AlfworldEnv()
    first = env.reset(game)
    assert rollout(env, Script(game.walkthrough), first, len(game.walkthrough)).ended == "won"
    first = env.reset(game)
    assert rollout(env, Script(game.walkthrough), first, len(game.walkthrough) - 1).ended == "steps"


def test_a_full_context_ends_it_as_lost(game: Game) -> None:
    env = AlfworldEnv()
    first = env.reset(game)
    played = rollout(env, Script(["look", "dance"]), first, 50)
    assert played.ended == "context" and len(played.steps) == 2
    assert played.last.text == "Nothing happens." and not played.trajectory(game, "train", "x").won


class Awaited(AsyncPolicy):
    """A script whose commands are waited for, with a thought behind each; without one left it has no answer."""

    def __init__(self, script: Script, error: Exception) -> None:
        self._script, self._error = script, error

    async def act(self, observation: Observation, /) -> str:
        await asyncio.sleep(0)
        try:
            command = self._script.act(observation)
        except ContextFull:
            raise self._error from None
        self.is_noise, self.thought = self._script.is_noise, f"so {command}"
        return command

    def observe(self, command: str, observation: Observation, /) -> None:
        self._script.observe(command, observation)


@pytest.mark.parametrize(("commands", "max_steps"), [(None, 50), (["!dance", "look"], 2), (["look"], 0)])
def test_what_is_waited_for_is_played_alike(game: Game, commands: list[str] | None, max_steps: int) -> None:
    """The same policy, asked either way, leaves the same episode, but for the thoughts."""
    scripts = [Script(commands or game.walkthrough) for _ in range(2)]
    env, seen = AlfworldEnv(), []
    first = env.reset(game)
    played = rollout(env, scripts[0], first, max_steps)
    first = env.reset(game)
    policy = Awaited(scripts[1], ContextFull("full"))
    awaited = asyncio.run(rollout_async(env, policy, first, max_steps, lambda c, o, why: seen.append((c, o))))
    assert replace(awaited, steps=tuple(replace(s, thought="") for s in awaited.steps)) == played
    assert [s.thought for s in awaited.steps] == [f"so {s.action}" for s in awaited.steps]
    assert scripts[0].told == scripts[1].told == seen


@pytest.mark.parametrize(("error", "ended"), [(ContextFull("full"), "context"), (NoAnswer("none"), "unanswered")])
def test_where_no_command_is_to_be_had_it_ends(game: Game, error: Exception, ended: str) -> None:
    env = AlfworldEnv()
    first = env.reset(game)
    played = asyncio.run(rollout_async(env, Awaited(Script(["look"]), error), first, 50))
    assert (played.ended, len(played.steps), played.last.won) == (ended, 1, False)


def test_the_trajectory(game: Game) -> None:
    env = AlfworldEnv()
    first = env.reset(game)
    played = rollout(env, Script(["!dance", "look"]), first, 2)
    told = played.trajectory(game, "valid_seen", "expert/9", 4)
    assert from_json(told.to_json(), "here") == told
    assert (told.game, told.group, told.task_type) == (game.digest, game.path.parts[-3], game.task_type)
    assert (told.split, told.player, told.seed, told.goal) == ("valid_seen", "expert/9", 4, game.task)
    assert (told.intro, told.won, told.last) == (first.text, False, played.last.text)
    assert told.steps == (
        Step(first.text, first.admissible, "dance", True),
        Step("Nothing happens.", first.admissible, "look", False),
    )
