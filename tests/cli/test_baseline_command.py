"""`duomem baseline` and `duomem eval --prompt chat` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from episodes import write_episodes

from duomem.cli.main import main
from duomem.core.files import sha256_file
from duomem.device.agent import evaluate as evaluate_module
from duomem.device.agent.evaluate import EvalConfig, read_episodes
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack


@pytest.fixture
def place(tmp_path: Path, generated_games: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with games, a pack, and a bundle in name alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "games").symlink_to(generated_games)
    memory = Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("look",), "f" * 64, "g")
    write_pack(tmp_path / "a.dmpack", "a", "expert/1", "", [memory])
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "head", "player"),
    [
        (("random",), "random on 6 valid_seen games, template goals, no action filter, 3 steps", "random"),
        (
            ("matcher", "--pack", "a.dmpack", "--action-filter"),
            "matcher, at most 3 memories of a.dmpack on 6 valid_seen games, template goals, an action filter, 3 steps",
            "matcher:",
        ),
    ],
)
def test_a_table_and_an_episode_file(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], head: str, player: str
) -> None:
    command = ["baseline", *arguments, "--games", "games", "--max-steps", "3", "--jobs", "1"]
    assert main(command) == 0
    first, titles, *_, last = capsys.readouterr().out.splitlines()
    assert first == head and titles.split()[0] == "success"
    rows = read_episodes(Path(last.removeprefix("episodes: ")))
    assert len(rows) == 6 and all(row["player"].startswith(player) for row in rows)
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["scores"]["all"]["n"] == 6 and printed["condition"]["baseline"] == arguments[0]
    assert printed["episodes"] == last.removeprefix("episodes: ")


def test_a_matcher_needs_a_pack(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", "matcher", "--games", "games"]) == 2
    assert "--pack" in capsys.readouterr().err
    assert main(["baseline", "random", "--pack", "a.dmpack", "--games", "games"]) == 2


def test_a_chat_is_asked_for_with_its_examples(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EvalConfig] = []

    def load(config: EvalConfig) -> None:
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_module, "load_agent", load)
    examples = write_episodes(place / "t.jsonl")
    arguments = ["eval", "bundle", "--games", "games", "--jobs", "1", "--no-reminder"]
    assert main([*arguments, "--prompt", "chat", "--examples", "t.jsonl"]) == 130
    assert main(arguments) == 130
    chat, plain = asked
    assert chat.chat_examples == Path("t.jsonl") and plain.chat_examples is None
    assert chat.record()["chat_examples"] == sha256_file(examples)
    assert not chat.play.reminder and plain.record()["reminder"] is False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompt", "chat"), "--prompt chat and --examples FILE go together"),
        (("--examples", "t.jsonl"), "--prompt chat and --examples FILE go together"),
        (("--prompt", "chat", "--examples", "t.jsonl", "--protocol", "free"), "leave out --protocol"),
    ],
)
def test_wrong_chats(place: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], said: str) -> None:
    write_episodes(place / "t.jsonl")
    assert main(["eval", "bundle", "--games", "games", *arguments]) == 2
    assert said in capsys.readouterr().err
