"""A ladder plays each rung once, tells who taught it, and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, random_opinion

from duomem.core.files import sha256_file
from duomem.cli.main import main
from duomem.device.agent.agent import evaluate as evaluate_module
from duomem.device.agent.agent import Agent
from duomem.device.alfworld.game_files import find_games
from duomem.device.agent.evaluate import Condition
from duomem.device.agent.prompt import PromptTokenizer
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import read_pack, write_pack

MEMORY = Memory("put a mug in desk.", "pick_and_place_simple", ("go to desk",), "f" * 64, "g")


@pytest.fixture
def loaded(tmp_path: Path, byte_tokenizer: Path, generated_games: Path, monkeypatch: pytest.MonkeyPatch,
           ) -> list[Condition]:
    """The conditions that were played, on fake engines; in the current folder bundles, packs and a teacher."""
    played: list[Condition] = []

    def load(condition: Condition) -> Agent:
        played.append(condition)
        memories = read_pack(condition.pack).memories if condition.pack else ()
        return Agent(FakeEngine(random_opinion(300), 300), PromptTokenizer(byte_tokenizer), "student:fake",
                     condition.protocol, memories, condition.play.k, condition.play.max_steps)

    monkeypatch.setattr(evaluate_module, "load_agent", load)
    monkeypatch.setattr("duomem.report.write.can_draw", lambda: False)  # test_figure draws
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    for name in ("base", "lora0", "lora1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_text(json.dumps(name))
    write_pack(Path("teacher.dmpack"), "teacher", "expert/1", "", [MEMORY])
    write_pack(Path("own.dmpack"), "own", "student:fake", "", [MEMORY])
    write_pack(Path("empty.dmpack"), "empty", "student:fake", "", [])
    (tmp_path / "games").symlink_to(generated_games)
    assert main(["teach", "--games", "games", "--split", "valid_seen", "--jobs", "1", "--out", "teacher.jsonl"]) == 0
    return played


def _ladder(*arguments: str) -> int:
    return main(["ladder", "--games", "games", "--max-steps", "1", "--jobs", "1", "--out", "out", *arguments])


ALL = ("--base", "base", "--base-self", "empty.dmpack", "--lora", "0=lora0", "--lora", "1=lora1", "--lora-self",
       "1=own.dmpack", "--pack", "teacher.dmpack", "--teacher", "teacher.jsonl")


def _rungs() -> dict[tuple[str, str], dict[str, Any]]:
    return {(rung["panel"], rung["name"]): rung for rung in json.loads(Path("out/ladder.json").read_text())["rungs"]}


def test_every_rung(loaded: list[Condition], capsys: pytest.CaptureFixture[str]) -> None:
    assert _ladder(*ALL) == 0
    rungs = _rungs()
    taught = {name: rung["taught"] for (panel, name), rung in rungs.items() if panel == "free"}
    assert taught == {
        "base, no memory": "nothing",
        "base, self memory": "memory: itself (0 memories)",
        "base, teacher memory": "memory: programmatic expert (1 memories)",
        "LoRA, no memory": "LoRA: programmatic expert",
        "LoRA, self memory": "LoRA: programmatic expert; memory: itself (1 memories)",
        "LoRA, teacher memory": "LoRA: programmatic expert; memory: programmatic expert (1 / 1 memories)",
        "teacher": "is the programmatic expert",
    }
    assert [name for panel, name in rungs if panel == "constrained"] == list(taught)
    assert rungs["free", "LoRA, no memory"]["seeds"] == ["0", "1"]
    assert rungs["free", "LoRA, self memory"]["seeds"] == ["1"]
    assert rungs["free", "teacher"]["success"] == 1 and rungs["free", "teacher"]["seconds"] is None
    assert all(rung["n"] == 6 for rung in rungs.values())
    run = rungs["free", "LoRA, teacher memory"]["runs"][1]
    assert run["inputs"]["bundle"] == sha256_file(Path("lora1/bundle.json"))
    assert run["inputs"]["pack"] == sha256_file(Path("teacher.dmpack")) and run["inputs"]["protocol"] == "free"
    assert capsys.readouterr().out.rstrip().endswith("out/ladder.md")


def test_nothing_is_played_twice(loaded: list[Condition]) -> None:
    """Nor under two names: a pack without memories plays as none does."""
    assert _ladder(*ALL) == 0
    assert len(loaded) == 2 * (2 + 2 + 3) and len(set(loaded)) == len(loaded)
    before = {key: rung["runs"] for key, rung in _rungs().items()}
    assert before["free", "base, self memory"] == before["free", "base, no memory"]
    assert _ladder(*ALL) == 0
    assert len(loaded) == 14 and {key: rung["runs"] for key, rung in _rungs().items()} == before


def test_stopped_it_goes_on(loaded: list[Condition], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Agent, *arguments: object) -> object:
        if len(loaded) == 3:
            raise KeyboardInterrupt
        return play(self, *arguments)  # type: ignore[arg-type]

    play = Agent.play
    with monkeypatch.context() as patch:
        patch.setattr(Agent, "play", stop)
        assert _ladder(*ALL) == 130
    assert [name for _, name in _rungs()] == ["base, no memory", "base, self memory", "base, teacher memory"]
    assert _ladder(*ALL) == 0
    assert len(_rungs()) == 14 and len(loaded) == 15


def test_some_games_of_one_protocol(loaded: list[Condition], generated_games: Path) -> None:
    family, *_, room = find_games(generated_games, "valid_seen")[0].parts[-3].split("-")
    assert _ladder(*ALL, "--protocol", "free", "--family", family, "--room", room) == 0
    assert {panel for panel, _ in _rungs()} == {"free"} and {rung["n"] for rung in _rungs().values()} == {1}


@pytest.mark.parametrize(("arguments", "said"), [
    ((), "no student to play"), (("--base", "x"), "x/bundle.json: no such bundle"),
    (("--base", "base", "--pack", "x"), "x: no such memory pack"),
    (("--base", "base", "--pack", "own.dmpack"), "its memories are by student:fake, that is no teacher memory"),
    (("--base", "base", "--base-self", "teacher.dmpack"), "by expert/1, that is no self memory"),
    (("--base-self", "own.dmpack", "--lora", "lora0"), "--base-self: whose"),
    (("--lora", "lora0", "--lora", "lora1"), "two students of one seed"),
    (("--lora", "0=lora0", "--lora-self", "1=own.dmpack"), "--lora-self own.dmpack: no --lora of that seed"),
    (("--base", "base", "--family", "pick_nothing"), "--family pick_nothing: no such task family"),
    (("--base", "base", "--room", "999"), "--room 999: no valid_seen game of these is in this floor plan"),
    (("--base", "base", "--teacher", "x", "--protocol", "free"), "x: no such episode file")])
def test_wrong_arguments(loaded: list[Condition], capsys: pytest.CaptureFixture[str], arguments: Sequence[str],
                         said: str) -> None:
    assert _ladder(*arguments) == 1
    errors = capsys.readouterr().err
    assert said in errors and errors.count("duomem: error:") == 1
