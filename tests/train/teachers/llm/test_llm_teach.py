"""Many episodes at once leave the file that one after the other would: whole, in order, each once."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import dressed, expert_command

from duomem.core.chat.budget import Budget, BudgetSpent
from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import Answer, Message
from duomem.core.errors import ChatError, UserError
from duomem.core.trajectory import read_trajectories
from duomem.device.alfworld.annotations import Goals
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.train.teachers.llm.policy import Asking
from duomem.train.teachers.llm.style import find_style
from duomem.train.teachers.llm.teach import LlmTeaching, teach_llm

TEACHING = LlmTeaching(Asking(replace(find_style("react"), examples=())), max_steps=25)


class ExpertChat:
    """The expert behind bad formatting, after a pause of any length. asked: what it was asked, in order. With an odd
    seed it looks around first; with one from 10 on it only ever looks.
    """

    name = "clever"

    def __init__(self, fail: dict[int, Exception] | None = None) -> None:
        """fail: what the answer of such a number, from 0 on, is instead."""
        self.asked: list[tuple[Message, ...]] = []
        self.closed = False
        self._fail = fail or {}
        self._rng = random.Random(0)

    async def answer(self, messages: Sequence[Message], *, seed: int | None = None, **options: Any) -> Answer:
        number = len(self.asked)
        self.asked.append(tuple(messages))
        await asyncio.sleep(self._rng.choice((0, 0, 0.001)))
        if number in self._fail:
            raise self._fail[number]
        told = [{"role": m.role, "content": m.content} for m in messages]
        looks = seed is not None and (seed >= 10 or (seed % 2 == 1 and len(messages) == 2))
        return Answer(dressed("look" if looks else expert_command(told), told, seed), 100, 10, "stop")

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def train_games(generated_games: Path) -> list[Path]:
    return find_games(generated_games, "train")


def _rows(out: Path) -> list[dict[str, Any]]:
    """The file's rows without the times in them."""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [{**row, "usage": {k: v for k, v in row["usage"].items() if k != "seconds"}} for row in rows]


def test_as_one_after_the_other(train_games: list[Path], tmp_path: Path) -> None:
    counts = {}
    for n in (1, 7):
        model = ExpertChat()
        counts[n] = teach_llm(train_games, "train", model, tmp_path / f"{n}.jsonl", replace(TEACHING, concurrency=n))
        assert model.closed
    assert counts[1] == counts[7] and counts[1]["games"] == counts[1]["tries"] == 18 and 5 <= counts[1]["won"] < 18
    assert _rows(tmp_path / "1.jsonl") == _rows(tmp_path / "7.jsonl")
    played = list(read_trajectories(tmp_path / "7.jsonl"))
    assert [t.game for t in played] == [load_game(path).digest for path in train_games]
    for t in played:
        assert (t.player, t.split, t.seed) == ("llm:clever", "train", 0)
        assert all("The next step is number" in step.thought for step in t.steps)
        assert t.usage is not None and t.usage.seconds > 0
        assert (t.usage.answers, t.usage.prompt_tokens) == (len(t.steps), 100 * len(t.steps))
    assert teach_llm(train_games, "train", ExpertChat(), tmp_path / "7.jsonl", TEACHING) == counts[1]


def test_messages_only_ever_grow(train_games: list[Path], tmp_path: Path) -> None:
    """What a server cached of an episode stays valid; with the commands listed or not."""
    for listed in (True, False):
        model = ExpertChat()
        style = TEACHING.asking.style if listed else replace(TEACHING.asking.style, admissible="")
        teaching = replace(TEACHING, asking=replace(TEACHING.asking, style=style), concurrency=1)
        teach_llm(train_games[:1], "train", model, tmp_path / f"{listed}.jsonl", teaching)
        for before, after in zip(model.asked, model.asked[1:], strict=False):
            assert after[: len(before)] == before and [m.role for m in after[len(before) :]] == ["assistant", "user"]
        assert all(("Admissible commands: " in m.content) == listed for m in model.asked[-1] if m.role == "user")


def test_different_solutions_are_kept_and_failures_marked(train_games: list[Path], tmp_path: Path) -> None:
    """Seeds 8, 9: two solutions; 10 to 12: failures. Without a second one wanted the first is enough."""
    asking = replace(TEACHING.asking, temperature=0.7)
    out = tmp_path / "t.jsonl"
    teaching = replace(TEACHING, asking=asking, tries=5, solutions=3, seed=8)
    counts = teach_llm(train_games, "train", ExpertChat(), out, teaching)
    tries = {game: [t for t in read_trajectories(out) if t.game == game] for game in {r["game"] for r in _rows(out)}}
    assert counts["tries"] == counts["episodes"] == 5 * 18
    for played in tries.values():
        assert [t.seed for t in played] == [8, 9, 10, 11, 12] and not any(t.won for t in played[2:])
        if played[1].won:
            assert [s.action for s in played[1].steps] == ["look", *(s.action for s in played[0].steps)]
    assert {row["ended"] for row in _rows(out)} == {"won", "steps"}
    counts = teach_llm(train_games, "train", ExpertChat(), tmp_path / "one.jsonl", replace(teaching, solutions=1))
    assert counts["won"] + 5 * (18 - counts["won"]) == counts["tries"] == counts["episodes"]


def test_a_win_that_repeats_another_is_dropped_but_counted(train_games: list[Path], tmp_path: Path) -> None:
    teaching = replace(TEACHING, asking=replace(TEACHING.asking, temperature=0.7), tries=5, solutions=3)
    counts = teach_llm(train_games, "train", ExpertChat(), tmp_path / "t.jsonl", teaching)
    won = [t for t in read_trajectories(tmp_path / "t.jsonl") if t.won]
    assert len({(t.game, tuple(s.action for s in t.steps)) for t in won}) == len(won)
    assert counts["tries"] == 5 * 18 > counts["episodes"]
    twice = next(t for t in won if t.seed == 0)
    assert twice.usage is not None and (twice.usage.tries, twice.usage.answers) == (3, 3 * len(twice.steps))


@pytest.mark.parametrize(
    ("error", "ended"), [(NoAnswer("no"), "unanswered"), (PromptTooLong("long"), "context")], ids=["no answer", "long"]
)
def test_an_episode_that_cannot_go_on_is_marked(
    train_games: list[Path], tmp_path: Path, error: Exception, ended: str
) -> None:
    out = tmp_path / "t.jsonl"
    teach_llm(train_games[:3], "train", ExpertChat({2: error}), out, replace(TEACHING, concurrency=1))
    rows = _rows(out)
    assert len(rows) == 3 and rows[0]["ended"] == ended and not rows[0]["won"] and len(rows[0]["steps"]) == 2
    assert ended not in {row["ended"] for row in rows[1:]}


def test_a_model_without_room_for_the_first_answer_stops_the_run(train_games: list[Path], tmp_path: Path) -> None:
    with pytest.raises(PromptTooLong):
        teach_llm(train_games[:3], "train", ExpertChat({0: PromptTooLong("long")}), tmp_path / "t.jsonl", TEACHING)
    assert not (tmp_path / "t.jsonl").exists()


def test_what_breaks_off_goes_on(train_games: list[Path], tmp_path: Path) -> None:
    """An endpoint that goes away stops the run; the next one plays only what is missing."""
    whole, out = tmp_path / "whole.jsonl", tmp_path / "t.jsonl"
    teach_llm(train_games, "train", ExpertChat(), whole, TEACHING)
    teaching, broken = replace(TEACHING, concurrency=2), 0
    for number in (60, 60, 60):
        with pytest.raises(ChatError, match="gone"):
            teach_llm(train_games, "train", ExpertChat({number: ChatError("gone")}), out, teaching)
        before, broken = broken, len((tmp_path / "t.jsonl.partial").read_text().splitlines())
        assert not out.exists() and broken > before
    model = ExpertChat()
    teach_llm(train_games, "train", model, out, TEACHING)
    assert _rows(out) == _rows(whole)
    assert sum("Your task is to:" in asked[-1].content for asked in model.asked) == 18 - (broken - 1)


def test_a_budget_stops_cleanly_and_a_larger_one_goes_on(train_games: list[Path], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "t.jsonl"
    teach_llm(train_games, "train", ExpertChat(), whole, TEACHING)
    spent = sum(row["usage"]["prompt_tokens"] + row["usage"]["completion_tokens"] for row in _rows(whole))
    budget = Budget(tokens=spent // 2)
    with pytest.raises(BudgetSpent, match=r"--max-total-tokens \d+: .* of 18 games are done and kept: .*larger budget"):
        teach_llm(train_games, "train", ExpertChat(), out, TEACHING, budget=budget)
    kept = [json.loads(line) for line in (tmp_path / "t.jsonl.partial").read_text().splitlines()][1:]
    assert 0 < len(kept) < 18 and budget.tokens <= spent // 2 and all(row["ended"] in ("won", "steps") for row in kept)
    with pytest.raises(BudgetSpent):
        teach_llm(train_games, "train", ExpertChat(), out, TEACHING, budget=Budget(tokens=spent // 2))
    teach_llm(train_games, "train", ExpertChat(), out, TEACHING, budget=Budget(tokens=20 * spent))
    assert _rows(out) == _rows(whole)


def test_other_inputs_are_refused(train_games: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    teach_llm(train_games[:2], "train", ExpertChat(), out, TEACHING)
    for other in (
        replace(TEACHING, max_steps=24),
        replace(TEACHING, seed=1),
        replace(TEACHING, asking=replace(TEACHING.asking, style=find_style("action"))),
    ):
        with pytest.raises(UserError, match="made from other inputs"):
            teach_llm(train_games[:2], "train", ExpertChat(), out, other)
    with pytest.raises(UserError, match="no train games"):
        teach_llm([], "train", ExpertChat(), tmp_path / "none.jsonl", TEACHING)
    teach_llm(train_games[:2], "train", ExpertChat(), out, replace(TEACHING, concurrency=3))


def test_goals_in_peoples_words(told_games: Path, tmp_path: Path) -> None:
    """Each of a game's sentences is a task of its own."""

    class Lost(ExpertChat):
        async def answer(self, messages: Sequence[Message], **options: Any) -> Answer:
            self.asked.append(tuple(messages))
            return Answer("look", 1, 1, "stop")

    games, model, out = find_games(told_games, "train")[:4], Lost(), tmp_path / "t.jsonl"
    counts = teach_llm(games, "train", model, out, replace(TEACHING, max_steps=1), Goals("human", None))
    played = list(read_trajectories(out))
    assert counts["games"] == len(played) == 8 and [t.goal_source for t in played] == ["human:0", "human:1"] * 4
    assert {t.goal for t in played} == {asked[-1].content.split("is to: ")[1].split("\n")[0] for asked in model.asked}
