"""`duomem teach` with a language model: many episodes at once, each written whole when it has ended.

The finished file is the same for any number at once: games in order, and of each its tries in order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.chat.budget import Budget, BudgetedModel, BudgetSpent
from duomem.core.chat.model import ChatModel
from duomem.core.chat.workers import run_workers
from duomem.core.errors import TrainError
from duomem.core.files import sha256_input
from duomem.core.progress import progress
from duomem.core.reading import digest_of
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import Usage, from_json
from duomem.device.agent.rollout import rollout_async
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.annotations import TEMPLATES, Goals, Task, told_record
from duomem.device.alfworld.game import Game
from duomem.train.teachers.llm.policy import Asking, LlmPolicy
from duomem.train.teachers.llm.solutions import Row, distinct, goes_on, task_of

TaskId = tuple[str, str]
"""A game's digest, and whose words tell its goal."""


@dataclass(frozen=True)
class LlmTeaching:
    """How games are played. asking: for a command. max_steps: most of an episode. tries: most episodes a game.
    solutions: so many different won ones are enough. seed: of the first try's draws, the next one has the next.
    concurrency: most episodes at once.
    """

    asking: Asking
    max_steps: int = 50
    tries: int = 1
    solutions: int = 1
    seed: int = 0
    concurrency: int = 8

    def record(self) -> dict[str, Any]:
        """What the episodes depend on."""
        asking = self.asking
        return {
            "prompt": asking.style.record(),
            "temperature": asking.temperature,
            "max_answer_tokens": asking.max_tokens,
            "max_steps": self.max_steps,
            "tries": self.tries,
            "solutions": self.solutions,
            "seed": self.seed,
        }


async def play_llm(model: ChatModel, game: Game, split: str, teaching: LlmTeaching, number: int) -> Row:
    """One episode: try `number` of the game, from 0 on. Raises what the model raises."""
    started, seed = time.perf_counter(), teaching.seed + number
    env = AlfworldEnv()
    observation = env.reset(game)
    policy = LlmPolicy(model, teaching.asking, observation, seed)
    played = await rollout_async(env, policy, observation, teaching.max_steps)
    seconds = round(time.perf_counter() - started, 3)
    usage = Usage(1, policy.answers, policy.prompt_tokens, policy.completion_tokens, seconds)
    return played.trajectory(game, split, f"llm:{model.name}", seed, usage).to_json() | {"ended": played.ended}


def teach_llm(
    games: Sequence[Path],
    split: str,
    model: ChatModel,
    out: Path,
    teaching: LlmTeaching,
    goals: Goals = TEMPLATES,
    budget: Budget | None = None,
    identity: dict[str, Any] | None = None,
) -> dict[str, int]:
    """Play `games` with `model` into the trajectory file `out`; returns {"games", "won", "episodes", "tries"}: the
    games won at least once, the episodes in the file and how many were played for them.

    goals: the words that tell the games. budget: what it may cost, with what an earlier run spent on episodes that are
    in the file. identity: what else tells the model from another, beside its name. The model is closed.

    An interrupted run of the same inputs is resumed; a finished file is only counted. Raises TrainError without games,
    BudgetSpent once the budget is, ChatError if the model is not there.
    """
    if not games:
        raise TrainError(f"no {split} games to play: see `duomem games list`")
    tasks, digests = goals.tasks(games), {game: sha256_input(game, "game") for game in games}
    inputs = {
        "split": split,
        "player": f"llm:{model.name}",
        "games": digest_of(list(digests.values())),
        **told_record(goals, tasks),
        **teaching.record(),
        **(identity or {}),
    }
    with ResumableJsonl(out, inputs) as lines:
        if not lines.done:
            by_id = {(digests[task.path], task.goal_source): task for task in tasks}
            run = _Run(lines, by_id, split, teaching, budget or Budget(), out)
            try:
                rows = asyncio.run(run.play(model))
            except BudgetSpent as e:
                raise BudgetSpent(
                    f"{e}: {len(run.finished)} of {len(by_id)} games are done and kept: give the same command with a "
                    "larger budget to go on"
                ) from None
            lines.finish(rows)
        rows = lines.rows
    return {
        "games": len({task_of(row) for row in rows}),
        "won": len({task_of(row) for row in rows if row["won"]}),
        "episodes": len(rows),
        "tries": sum(row["usage"]["tries"] for row in rows),
    }


class _Run:
    """What is done of the work. finished: ids of the tasks of which no more is to be played."""

    def __init__(
        self,
        lines: ResumableJsonl,
        tasks: Mapping[TaskId, Task],
        split: str,
        teaching: LlmTeaching,
        budget: Budget,
        out: Path,
    ) -> None:
        """tasks: by id, in the order of the file."""
        self._lines = lines
        self._tasks = tasks
        self._split = split
        self._teaching = teaching
        self._budget = budget
        self._out = out
        self._tries: dict[TaskId, list[Row]] = {id: [] for id in tasks}
        self._spent: BudgetSpent | None = None
        self.finished: set[TaskId] = set()
        for number, row in enumerate(lines.rows, 1):
            usage = from_json(row, f"{out}.partial: line {number + 1}").usage
            if usage is not None:
                budget.spend(usage.prompt_tokens, usage.completion_tokens)
            self._tries[task_of(row)].append(row)

    async def play(self, model: ChatModel) -> list[Row]:
        """What is missing; returns all that the file is to hold. Raises BudgetSpent if something is still missing."""
        budgeted = BudgetedModel(model, self._budget)
        queue = iter(self._tasks.items())
        with progress(None, "teaching", len(self._tasks), "games") as bar:
            count = min(self._teaching.concurrency, len(self._tasks))
            await run_workers(lambda: self._work(budgeted, queue, bar), count, model)
        if self._spent is not None:
            raise self._spent
        return [row for tries in self._tries.values() for row in distinct(tries, str(self._out))]

    async def _work(self, model: ChatModel, queue: Iterator[tuple[TaskId, Task]], bar: Any) -> None:
        """Play games of the queue, one after the other, until it is empty or the budget spent: what another worker is
        in the middle of then goes on as far as the budget lets it.
        """
        for id, task in queue:
            if self._spent is not None:
                return
            try:
                await self._play(model, task, self._tries[id])
            except BudgetSpent as e:
                self._spent = e
                return
            self.finished.add(id)
            won = sum(any(row["won"] for row in self._tries[id]) for id in self.finished)
            bar.note(f"{won} won, {self._budget.tokens} tokens, {self._budget.cost:.2f} spent")
            bar.update()

    async def _play(self, model: ChatModel, task: Task, tries: list[Row]) -> None:
        """Play what is missing of a task's tries."""
        if not goes_on(tries, self._teaching.tries, self._teaching.solutions):
            return
        game = task.load()
        while goes_on(tries, self._teaching.tries, self._teaching.solutions):
            row = await play_llm(model, game, self._split, self._teaching, len(tries))
            self._lines.append(row)
            tries.append(row)
