"""A grid plays each condition once, tells who taught it, and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint
from fakes import fake_agent

from duomem.cli.main import main
from duomem.core.files import sha256_file
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.agent.agent import Agent
from duomem.device.agent.evaluate import EvalConfig
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.manifest import UNRELEASED, Writer
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack, write_pack

MEMORY = Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("go to desk",), "f" * 64, "g")


@pytest.fixture
def loaded(
    tmp_path: Path,
    byte_tokenizer: Path,
    generated_games: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[EvalConfig]:
    """The conditions that were played, on fake engines; in the current folder bundles, packs and a teacher."""
    played: list[EvalConfig] = []

    def load(config: EvalConfig) -> Agent:
        played.append(config)
        return fake_agent(config, byte_tokenizer)

    monkeypatch.setattr(evaluate_module, "load_agent", load)
    monkeypatch.setattr("duomem.report.write.can_draw", lambda: False)  # test_figure draws
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    for name in ("base", "lora0", "lora1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(json.dumps(name))
    write_pack(Path("teacher.dmpack"), "teacher", "expert/1", "", [MEMORY])
    write_pack(Path("own.dmpack"), "own", "student:fake", "", [replace(MEMORY, steps=("look",))])
    write_pack(Path("empty.dmpack"), "empty", "student:fake", "", [])
    (tmp_path / "games").symlink_to(generated_games)
    assert main(["teach", "--games", "games", "--split", "valid_seen", "--jobs", "1", "--out", "teacher.jsonl"]) == 0
    return played


def _compare(*arguments: str) -> int:
    return main(["compare", "--games", "games", "--max-steps", "1", "--jobs", "1", "--out", "out", *arguments])


ALL = (
    "--base",
    "base",
    "--base-self",
    "empty.dmpack",
    "--lora",
    "0=lora0",
    "--lora",
    "1=lora1",
    "--lora-self",
    "1=own.dmpack",
    "--pack",
    "teacher.dmpack",
    "--teacher",
    "teacher.jsonl",
)


def _conditions() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (condition["panel"], condition["name"]): condition
        for condition in json.loads(Path("out/compare.json").read_text())["conditions"]
    }


def test_every_condition(loaded: list[EvalConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert _compare(*ALL) == 0
    conditions = _conditions()
    taught = {name: condition["taught"] for (panel, name), condition in conditions.items() if panel == "free"}
    assert taught == {
        "base, no memory": "nothing",
        "base, self memory": "memory: itself (0 memories)",
        "base, teacher memory": "memory: programmatic expert (1 memories)",
        "LoRA, no memory": "LoRA: programmatic expert",
        "LoRA, self memory": "LoRA: programmatic expert; memory: itself (1 memories)",
        "LoRA, teacher memory": "LoRA: programmatic expert; memory: programmatic expert (1 / 1 memories)",
        "random": "nothing",
        "random, action filter": "nothing",
        "matcher, teacher memory": "memory: programmatic expert (1 memories)",
        "teacher": "is the programmatic expert",
    }
    assert [name for panel, name in conditions if panel == "constrained"] == list(taught)
    assert conditions["free", "LoRA, no memory"]["seeds"] == ["0", "1"]
    assert conditions["free", "LoRA, self memory"]["seeds"] == ["1"]
    assert conditions["free", "teacher"]["success"] == 1 and conditions["free", "teacher"]["seconds"] is None
    assert all(condition["n"] == 6 for condition in conditions.values())
    run = conditions["free", "LoRA, teacher memory"]["runs"][1]
    assert run["inputs"]["bundle"] == sha256_file(Path("lora1/bundle.json"))
    assert run["inputs"]["pack"] == read_pack("teacher.dmpack").content_digest and run["inputs"]["protocol"] == "free"
    assert capsys.readouterr().out.rstrip().endswith("out/compare.md")


def test_baselines_are_the_same_rows_for_every_protocol(loaded: list[EvalConfig]) -> None:
    assert _compare(*ALL) == 0
    conditions = _conditions()
    for name in ("random", "random, action filter", "matcher, teacher memory"):
        assert conditions["free", name]["runs"] == conditions["constrained", name]["runs"]
    for name, withheld in (("random", False), ("random, action filter", True)):
        assert conditions["free", name]["runs"][0]["inputs"]["action_filter"] is withheld
    (run,) = conditions["free", "matcher, teacher memory"]["runs"]
    assert run["inputs"]["pack"] == read_pack("teacher.dmpack").content_digest and run["tokens"] == 0
    assert not run["inputs"]["action_filter"] and run["inputs"]["max_steps"] == 1
    compared = {
        (c["panel"], c["first"], c["second"]) for c in json.loads(Path("out/compare.json").read_text())["comparisons"]
    }
    assert ("free", "LoRA, no memory", "matcher, teacher memory") in compared


def test_without_a_pack_there_is_no_matcher(loaded: list[EvalConfig]) -> None:
    assert _compare("--base", "base", "--protocol", "free") == 0
    assert [name for _, name in _conditions()] == ["base, no memory", "random", "random, action filter"]


def test_other_episodes_are_rows(loaded: list[EvalConfig], capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--base", "base", "--protocol", "free")
    assert _compare(*given, "--row", "expert, no priors=teacher.jsonl", "--row", "b=teacher.jsonl") == 0
    conditions = _conditions()
    assert list(conditions)[-2:] == [("free", "expert, no priors"), ("free", "b")]
    assert conditions["free", "b"]["success"] == 1 and conditions["free", "b"]["taught"] == "not stated"
    lines = Path("teacher.jsonl").read_text().splitlines(keepends=True)
    Path("few.jsonl").write_text("".join(lines[1:]))
    loaded.clear()
    assert _compare(*given, "--max-steps", "2", "--row", "few=few.jsonl") == 1
    assert "few.jsonl: lacks 1 of the games asked for" in capsys.readouterr().err and not loaded


def test_the_teacher_behind_an_endpoint_plays_too(
    loaded: list[EvalConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai", reason="openai is not installed: pip install duomem[llm]")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FakeEndpoint().serving() as endpoint:
        asked = ("--base", "base", "--protocol", "free", "--teacher-endpoint", endpoint.url)
        assert _compare(*asked) == 2
        assert "--teacher-endpoint and --teacher-model go together" in capsys.readouterr().err
        assert _compare(*asked, "--teacher-model", "fake", "--max-steps", "18") == 0
    teacher = _conditions()["free", "teacher"]
    assert teacher["taught"] == "is the LLM teacher fake" and 0 < teacher["success"] <= 1
    assert teacher["seconds"] > 0 and teacher["tokens"] > teacher["steps"]


def test_who_played_and_who_wrote_the_memories(loaded: list[EvalConfig]) -> None:
    release = replace(UNRELEASED, writer=Writer("llm", "qwen3", "", "0" * 64, 1))
    write_pack(Path("llm.dmpack"), "llm", "llm:Qwen/Qwen3-4B", "", [MEMORY], release=release)
    assert _compare("--base", "base", "--protocol", "free", "--pack", "llm.dmpack") == 0
    taught = _conditions()["free", "base, teacher memory"]["taught"]
    assert taught == "memory: LLM teacher Qwen/Qwen3-4B in the words of LLM teacher qwen3 (1 memories)"


def test_nothing_is_played_twice(loaded: list[EvalConfig]) -> None:
    """Nor under two names: a pack without memories plays as none does."""
    assert _compare(*ALL) == 0
    assert len(loaded) == 2 * (2 + 2 + 3) and len(set(loaded)) == len(loaded)
    before = {key: condition["runs"] for key, condition in _conditions().items()}
    assert before["free", "base, self memory"] == before["free", "base, no memory"]
    assert _compare(*ALL) == 0
    assert len(loaded) == 14 and {key: condition["runs"] for key, condition in _conditions().items()} == before


def test_stopped_it_goes_on(loaded: list[EvalConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Agent, *arguments: object) -> object:
        if len(loaded) == 3:
            raise KeyboardInterrupt
        return play(self, *arguments)  # type: ignore[arg-type]

    play = Agent.play
    with monkeypatch.context() as patch:
        patch.setattr(Agent, "play", stop)
        assert _compare(*ALL) == 130
    assert [name for _, name in _conditions()] == ["base, no memory", "base, self memory", "base, teacher memory"]
    assert _compare(*ALL) == 0
    assert len(_conditions()) == 20 and len(loaded) == 15


def test_some_games_of_one_protocol(loaded: list[EvalConfig], generated_games: Path) -> None:
    task_type, *_, scene = find_games(generated_games, "valid_seen")[0].parts[-3].split("-")
    assert _compare(*ALL, "--protocol", "free", "--task-type", task_type, "--scene", scene) == 0
    assert {panel for panel, _ in _conditions()} == {"free"} and {
        condition["n"] for condition in _conditions().values()
    } == {1}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "no student to play"),
        (("--base", "x"), 1, "x: no such bundle folder"),
        (("--base", "base", "--pack", "x"), 1, "x: no such memory pack"),
        (("--base", "base", "--pack", "own.dmpack"), 1, "its memories are by student:fake, that is no teacher memory"),
        (("--base", "base", "--base-self", "teacher.dmpack"), 1, "by expert/1, that is no self memory"),
        (("--base-self", "own.dmpack", "--lora", "lora0"), 2, "--base-self: whose"),
        (("--lora", "lora0", "--lora", "lora1"), 2, "two students of one seed"),
        (("--lora", "0=lora0", "--lora-self", "1=own.dmpack"), 2, "--lora-self own.dmpack: no --lora of that seed"),
        (("--base", "base", "--task-type", "pick_nothing"), 2, "'pick_nothing' is not one of 'pick_and_place_simple'"),
        (("--base", "base", "--scene", "999"), 1, "--scene 999: no valid_seen game of these is in this floor plan"),
        (("--base", "base", "--teacher", "x", "--protocol", "free"), 1, "x: no such episode file"),
        (("--base", "base", "--row", "a=x"), 1, "x: no such episode file"),
        (("--base", "base", "--row", "teacher.jsonl"), 2, "--row teacher.jsonl: what is it? Give NAME=FILE"),
        (("--base", "base", "--row", "a=teacher.jsonl", "--row", "a=teacher.jsonl"), 2, "two rows of one name"),
    ],
)
def test_wrong_arguments(
    loaded: list[EvalConfig], capsys: pytest.CaptureFixture[str], arguments: Sequence[str], status: int, said: str
) -> None:
    assert _compare(*arguments) == status
    errors = capsys.readouterr().err
    assert said in errors and errors.count("duomem: error:") == 1
