"""A split is played once, in order, resumably; what is reported is what was played."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import without_times
from fakes import fake_agent
from told import annotate, sentences

from duomem.core.errors import BundleError, UserError
from duomem.core.files import sha256_file
from duomem.core.reading import sha256_bytes
from duomem.core.resumable_jsonl import ResumableJsonl
from duomem.core.trajectory import read_trajectories
from duomem.device.agent import agent as agent_module
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig, PlayConfig, evaluate, load_agent, read_episodes, summarize
from duomem.device.alfworld.annotations import Goals
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack, write_pack

MEMORIES = [Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("go to desk",), "f" * 64, "g")]


@pytest.fixture
def config(tmp_path: Path, byte_tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> EvalConfig:
    """A bundle in name alone: its engine is a fake one."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    write_pack(tmp_path / "a.dmpack", "a", "expert/1", "", MEMORIES)

    def load(config: EvalConfig) -> Agent:
        return fake_agent(config, byte_tokenizer)

    monkeypatch.setattr(evaluate_module, "load_agent", load)
    return EvalConfig(tmp_path / "bundle", tmp_path / "a.dmpack", "free", PlayConfig(max_steps=2))


@pytest.fixture
def games(generated_games: Path) -> list[Path]:
    return find_games(generated_games, "valid_seen")


def _played(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [without_times(row) for row in rows]


def test_a_row_an_episode(config: EvalConfig, games: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out" / "e.jsonl"
    rows = evaluate(config, games, "valid_seen", out, 1)
    assert rows == read_episodes(out) and len(rows) == 6
    assert [row["game"] for row in rows] == [sha256_file(g) for g in games]
    assert {row["split"] for row in rows} == {"valid_seen"} and all(len(row["steps"]) <= 2 for row in rows)
    assert [t.game for t in read_trajectories(out)] == [row["game"] for row in rows]
    assert any(row["memories"] == [MEMORIES[0].id] for row in rows)
    assert any(row["memory_texts"] == [MEMORIES[0].text()] for row in rows)
    assert all(len(row["choices"]) == len(row["steps"]) for row in rows)
    assert evaluate(config, games, "valid_seen", out, 1) == rows


def test_an_interrupted_run_goes_on(
    config: EvalConfig, games: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(config, games, "valid_seen", tmp_path / "whole.jsonl", 1)
    out, played = tmp_path / "e.jsonl", []

    def append(self: ResumableJsonl, row: dict[str, Any]) -> None:
        really_append(self, row)
        played.append(row)
        if len(played) == 3:
            raise KeyboardInterrupt

    really_append = ResumableJsonl.append
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ResumableJsonl, "append", append)
        evaluate(config, games, "valid_seen", out, 1)
    assert not out.exists()
    rows = evaluate(config, games, "valid_seen", out, 1)
    assert rows[:3] == played and _played(rows) == _played(whole)


def test_other_inputs_are_refused(config: EvalConfig, games: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "e.jsonl"
    evaluate(config, games, "valid_seen", out, 1)
    plays = [
        PlayConfig(max_steps=3),
        PlayConfig(2, 2),
        PlayConfig(1, 2, 512),
        PlayConfig(1, 2, device="cpu"),
        PlayConfig(1, 2, action_filter=False),
        PlayConfig(1, 2, reminder=False),
    ]
    others = [
        replace(config, pack=None),
        replace(config, protocol="constrained"),
        *(replace(config, play=play) for play in plays),
    ]
    for other in others:
        with pytest.raises(UserError, match="made from other inputs"):
            evaluate(other, games, "valid_seen", out, 1)
    with pytest.raises(UserError, match="made from other inputs"):
        evaluate(config, games[:5], "valid_seen", out, 1)
    (config.bundle / "bundle.json").write_text("{ }")
    with pytest.raises(UserError, match="made from other inputs"):
        evaluate(config, games, "valid_seen", out, 1)


def test_a_pack_that_tells_of_the_games_is_refused(config: EvalConfig, games: list[Path], tmp_path: Path) -> None:
    """By digest, whatever the memory says of itself; on train games it is how self memory is made."""
    write_pack(tmp_path / "b.dmpack", "b", "expert/1", "", [replace(MEMORIES[0], game=sha256_file(games[1]))])
    observe = replace(config, pack=tmp_path / "b.dmpack")
    for split in ("valid_seen", "valid_unseen"):
        with pytest.raises(UserError, match=rf"b\.dmpack: holds memories of 1 of these {split} games"):
            evaluate(observe, games, split, tmp_path / "e.jsonl", 1)
    assert not list(tmp_path.glob("e.jsonl*"))
    assert len(evaluate(observe, games[2:], "valid_seen", tmp_path / "e.jsonl", 1)) == 4
    assert len(evaluate(observe, games, "train", tmp_path / "t.jsonl", 1)) == 6


def test_missing_inputs(config: EvalConfig, games: list[Path], tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    for bad, said in (
        (replace(config, bundle=tmp_path / "x"), "no such bundle"),
        (replace(config, pack=tmp_path / "x"), "no such memory pack"),
    ):
        with pytest.raises(UserError, match=said):
            evaluate(bad, games, "valid_seen", tmp_path / "e.jsonl", 1)
    with pytest.raises(UserError, match="no such game"):
        evaluate(config, [*games, tmp_path / "x"], "valid_seen", tmp_path / "e.jsonl", 1)
    with pytest.raises(UserError, match="no valid_seen games"):
        evaluate(config, [], "valid_seen", tmp_path / "e.jsonl", 1)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bundle_that_cannot_be_loaded(
    config: EvalConfig, games: list[Path], tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"bundle\.json: field format"):
        evaluate(config, games, "valid_seen", tmp_path / "e.jsonl", jobs)
    assert sorted(os.listdir(tmp_path)) == ["a.dmpack", "bundle"]


def test_a_student_of_another_prompt_is_refused(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "PROMPT_VERSION", 99)
    with pytest.raises(BundleError, match=r"bundle\.json: field prompt_version is \d+, .* prompts in version 99"):
        load_agent(EvalConfig(tiny_bundle, None, "free", PlayConfig(max_steps=2)))


def test_a_compiled_student_plays(tiny_bundle: Path, games: list[Path], tmp_path: Path) -> None:
    """Its context of 256 bytes does not even hold the prompt, and that is how it ends."""
    played = EvalConfig(tiny_bundle, None, "free", PlayConfig(max_steps=2))
    rows = evaluate(played, games[:2], "valid_seen", tmp_path / "e.jsonl", 1)
    assert [(row["ended"], row["won"]) for row in rows] == [("context", False)] * 2
    digest = sha256_file(tiny_bundle / "bundle.json")
    assert {row["player"] for row in rows} == {f"student:{digest[:12]}"}


def _row(task_type: str, won: bool, steps: int = 10) -> dict[str, Any]:
    return {"task_type": task_type, "won": won, "steps": [None] * steps, "seconds": 2.0, "prefilled": 70, "decoded": 30}


def test_scores_by_task_type() -> None:
    scores = summarize([_row("b", True, 4), _row("a", False, 50), _row("b", True, 8), _row("b", False, 50)])
    assert list(scores) == ["a", "b", "all"]
    assert (scores["b"].wins, scores["b"].n, scores["b"].steps) == (2, 3, pytest.approx(62 / 3))
    everything = scores["all"]
    assert (everything.wins, everything.n, everything.success) == (2, 4, 0.5)
    assert (everything.low, everything.high) == pytest.approx((0.1500, 0.8500), abs=1e-4)
    assert (everything.steps, everything.seconds, everything.tokens) == (28, 2, 100)
    assert everything.to_json()["low"] == 0.15
    assert summarize([])["all"].to_json() == {
        "n": 0,
        "wins": 0,
        "success": 0.0,
        "low": 0.0,
        "high": 1.0,
        "steps": 0.0,
        "seconds": 0.0,
        "tokens": 0.0,
    }


def test_a_record_tells_configs_apart(config: EvalConfig) -> None:
    record = config.record()
    assert record["bundle"] == sha256_bytes(b"{}") and config.pack is not None
    assert record["pack"] == read_pack(config.pack).content_digest
    assert replace(config, pack=None).record() == replace(config, pack=None, play=PlayConfig(2, 2)).record()
    assert record != replace(config, play=PlayConfig(2, 2)).record()


def test_goals_in_peoples_words(config: EvalConfig, told_games: Path, games: list[Path], tmp_path: Path) -> None:
    """Each sentence is an episode of its own, and is what the student is told."""
    told = find_games(told_games, "valid_seen")
    out = tmp_path / "e.jsonl"
    rows = evaluate(replace(config, goals=Goals("human", None)), told, "valid_seen", out, 1)
    known = [load_game(path) for path in told]
    assert [row["goal"] for row in rows] == [sentence for game in known for sentence in sentences(game)]
    assert [row["goal_source"] for row in rows] == ["human:0", "human:1"] * 6
    assert [row["game"] for row in rows[::2]] == [sha256_file(path) for path in games]
    assert all(row["intro"].endswith(f"Your task is to: {row['goal']}") for row in rows)
    assert summarize(rows)["all"].n == 12
    own = evaluate(config, told, "valid_seen", tmp_path / "own.jsonl", 1)
    assert [row["goal"] for row in own] == [game.template for game in known]


def test_the_words_are_inputs(config: EvalConfig, told_games: Path, tmp_path: Path) -> None:
    """Other sentences, or others of them, are another evaluation; the same ones are not played again."""
    games = find_games(shutil.copytree(told_games, tmp_path / "games"), "valid_seen")[:2]
    out, first = tmp_path / "e.jsonl", replace(config, goals=Goals("human", 0))
    rows = evaluate(first, games, "valid_seen", out, 1)
    assert evaluate(first, games, "valid_seen", out, 1) == rows
    for other in (config, replace(config, goals=Goals("human", 1)), replace(config, goals=Goals("human", None))):
        with pytest.raises(UserError, match="made from other inputs"):
            evaluate(other, games, "valid_seen", out, 1)
    annotate(games[0], [{"task_desc": "something else altogether"}])
    with pytest.raises(UserError, match="made from other inputs"):
        evaluate(first, games, "valid_seen", out, 1)
    with pytest.raises(UserError, match=r"has 1 annotations, none of number 1"):
        evaluate(replace(config, goals=Goals("human", 1)), games, "valid_seen", tmp_path / "f.jsonl", 1)


def test_an_interrupted_run_goes_on_within_a_game(
    config: EvalConfig, told_games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, both = find_games(told_games, "valid_seen")[:2], replace(config, goals=Goals("human", None))
    whole = evaluate(both, told, "valid_seen", tmp_path / "whole.jsonl", 1)
    really_append = ResumableJsonl.append

    def append(self: ResumableJsonl, row: dict[str, Any]) -> None:
        really_append(self, row)
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ResumableJsonl, "append", append)
            evaluate(both, told, "valid_seen", tmp_path / "e.jsonl", 1)
    assert _played(evaluate(both, told, "valid_seen", tmp_path / "e.jsonl", 1)) == _played(whole)


def test_a_record_names_only_what_is_not_usual(config: EvalConfig) -> None:
    """So that what was played before there was a choice stays what it is."""
    usual = config.record()
    assert not usual.keys() & {"reminder", "prompt", "chat_examples", "device"}
    assert replace(config, play=replace(config.play, reminder=False)).record() == usual | {"reminder": False}
    examples = config.bundle / "bundle.json"
    chat = {"prompt": "chat", "chat_examples": sha256_file(examples)}
    once = {name: value for name, value in usual.items() if name != "second_look"}
    assert replace(config, chat_examples=examples).record() == once | chat
    assert replace(config, play=replace(config.play, second_look=False)).record() == once
