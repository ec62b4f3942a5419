"""What is exported in any format is imported as it was, to the byte, whatever stands in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from exported import EPISODES, NOISY, PLAIN, THINKING
from mug_episodes import told, write_told

from duomem.cli.main import main
from duomem.core.errors import TrajectoryError
from duomem.core.told import hear, say
from duomem.core.trajectory import Trajectory, read_trajectories
from duomem.train.formats.convert import FORMATS, export_trajectories, import_trajectories
from duomem.train.formats.find_game import GameFinder


def _no_games() -> GameFinder:
    raise AssertionError("nothing is to be played again")


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back(tmp_path: Path, name: str) -> None:
    source = write_told(tmp_path / "a.jsonl", EPISODES)
    assert export_trajectories(source, tmp_path / "out", name) == len(EPISODES)
    found = import_trajectories(tmp_path / "out", tmp_path / "b.jsonl", name, _no_games)
    assert (found.taken, found.replayed, found.refused) == (len(EPISODES), 0, 0)
    assert list(read_trajectories(tmp_path / "b.jsonl")) == EPISODES


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    assert export_trajectories(write_told(tmp_path / "a.jsonl", []), tmp_path / "out", name) == 0


@pytest.mark.parametrize("episode", EPISODES, ids=lambda episode: episode.game[-1])
def test_a_message_is_heard_as_it_was_said(episode: Trajectory) -> None:
    """Where it is not, told_of keeps it beside the message: see the round trip."""
    plain = [step for step in episode.steps if "Action: " not in step.action + step.thought and step.action]
    for step in plain:
        for marked in (False, True):
            assert hear(say(step.thought, step.action, marked)) == (step.thought, step.action)


def test_chat_rows(tmp_path: Path) -> None:
    export_trajectories(write_told(tmp_path / "a.jsonl", [PLAIN, NOISY, THINKING]), tmp_path / "out", "chat")
    plain, noisy, thinking = (json.loads(line)["messages"] for line in (tmp_path / "out").read_text().splitlines())
    assert plain[0] == {"role": "user", "content": PLAIN.intro}
    assert plain[1] == {"role": "assistant", "content": "go to shelf 1"} and plain[-1]["role"] == "assistant"
    assert [m["role"] for m in plain] == ["user", "assistant"] * len(PLAIN.steps)
    assert [m.get("weight") for m in noisy[1::2]] == [None, 0, *[None] * 5]
    assert thinking[3]["content"] == "Thought: Step 1.\nThen?\nAction: go to desk 2"


def test_eto_rows(tmp_path: Path) -> None:
    export_trajectories(write_told(tmp_path / "a.jsonl", [PLAIN, THINKING]), tmp_path / "out", "eto")
    plain, thinking = json.loads((tmp_path / "out").read_text())
    first, said, seen = plain["conversations"][:3]
    assert first == {"from": "human", "value": PLAIN.intro} and plain["id"] == PLAIN.game
    assert said == {"from": "gpt", "value": "Action: go to shelf 1"}
    assert seen == {"from": "human", "value": f"Observation: {PLAIN.steps[1].observation}"}
    assert thinking["conversations"][3]["value"] == "Thought: Step 1.\nThen?\nAction: go to desk 2"


def test_atif_documents(tmp_path: Path) -> None:
    """The fields that Harbor's models of version 1.7 demand; they forbid others."""
    export_trajectories(write_told(tmp_path / "a.jsonl", [THINKING]), tmp_path / "out", "atif")
    [file] = (tmp_path / "out").iterdir()
    document = json.loads(file.read_text())
    assert document["schema_version"] == "ATIF-v1.7" and document["agent"]["model_name"] == "llm:org/model"
    assert document.keys() == {"schema_version", "session_id", "agent", "steps", "extra", "final_metrics"}
    assert document["final_metrics"] == {"total_prompt_tokens": 1234, "total_completion_tokens": 56}
    assert [step["step_id"] for step in document["steps"]] == list(range(1, len(THINKING.steps) + 2))
    first, _, step = document["steps"][:3]
    assert first == {"step_id": 1, "source": "user", "message": THINKING.intro}
    [call], [result] = step["tool_calls"], step["observation"]["results"]
    assert call == {"tool_call_id": "call_2", "function_name": "act", "arguments": {"command": "go to desk 2"}}
    assert result == {"source_call_id": "call_2", "content": THINKING.steps[2].observation}
    assert step["reasoning_content"] == "Step 1.\nThen?" and "reasoning_content" not in document["steps"][1]


def test_a_dataset_folder(tmp_path: Path) -> None:
    """Every row has every column that the card declares, so that none is guessed."""
    export_trajectories(write_told(tmp_path / "a.jsonl", EPISODES), tmp_path / "out", "hf")
    _, head, body = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    declared = {line.removeprefix("  - name: ") for line in head.splitlines() if line.startswith("  - name: ")}
    rows = [json.loads(line) for line in (tmp_path / "out" / "data" / "train.jsonl").read_bytes().splitlines()]
    assert all(row.keys() == declared for row in rows) and "path: data/train.jsonl" in head
    messages = [message for row in rows for message in row["messages"]]
    assert {message.get("weight", "none") for message in messages} == {None, 0, 1}
    assert f"{len(EPISODES)} episodes of train games, {sum(t.won for t in EPISODES)} of them won" in body
    (tmp_path / "rows").write_bytes((tmp_path / "out" / "data" / "train.jsonl").read_bytes())
    assert import_trajectories(tmp_path / "rows", tmp_path / "b", "hf", _no_games).taken == len(EPISODES)


def test_datasets_loads_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed; it is no dependency."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    export_trajectories(write_told(tmp_path / "a.jsonl", EPISODES), tmp_path / "out", "hf")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    loaded.to_json(tmp_path / "back.jsonl")
    import_trajectories(tmp_path / "back.jsonl", tmp_path / "b.jsonl", "hf", _no_games)
    assert list(read_trajectories(tmp_path / "b.jsonl")) == EPISODES


@pytest.mark.parametrize("name", FORMATS)
def test_only_what_no_model_learns_from_takes_validation_games(tmp_path: Path, name: str) -> None:
    source = write_told(tmp_path / "a.jsonl", [PLAIN, replace(PLAIN, split="valid_seen")])
    if name == "atif":
        assert export_trajectories(source, tmp_path / "out", name) == 2
    else:
        with pytest.raises(TrajectoryError, match=r"line 2: field split is 'valid_seen'"):
            export_trajectories(source, tmp_path / "out", name)
        assert not (tmp_path / "out").exists()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, back = write_told(tmp_path / "a.jsonl", [told()]), tmp_path / "out", tmp_path / "b.jsonl"
    assert main(["trajectories", "export", str(source), str(out), "--format", "chat"]) == 0
    assert main(["trajectories", "import", str(out), str(back), "--format", "chat"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{out}: 1 episodes"
    assert said[1] == f"{back}: 1 episodes, 1 won; 1 as duomem wrote them, 0 played again, 0 left out"
    assert source.read_bytes() == back.read_bytes()
