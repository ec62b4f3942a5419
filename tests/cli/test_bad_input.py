"""A user's mistake is one line on the error stream and exit status 1; nothing is written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.core.trajectory import Trajectory
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack


@pytest.fixture
def place(tmp_path: Path, generated_games: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one of everything that can be wrong, and the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"\x00damaged\xff\n")
    (tmp_path / "games").symlink_to(generated_games)
    shutil.copytree(generated_games, tmp_path / "badgames")
    for split in ("train", "valid_seen"):
        find_games(tmp_path / "badgames", split)[0].write_bytes(b"{}")
    memory = Memory("put a mug in desk.", "pick_and_place_simple", ("look",), "f" * 64, "g")
    write_pack(tmp_path / "good.dmpack", "good", "expert/1", "", [memory])
    played = Trajectory("f" * 64, "g", "valid_seen", "f", "put a mug in desk.", "", (), "", True, "expert/1", 0)
    (tmp_path / "valid.jsonl").write_text(json.dumps(played.to_json()) + "\n")
    (tmp_path / "bad.toml").write_text("model = ")
    (tmp_path / "odd.toml").write_text('model = "m"\nlayers = 3\n')
    (tmp_path / "local.toml").write_text('model = "empty"\n')
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    return tmp_path


def _tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("games --games absent", "absent: no games here"),
        ("games", "runs/games: no games here"),
        ("games generate --out empty/../good.dmpack/x --train 1 --seen 0 --unseen 0", "good.dmpack"),
        ("teach --games absent --out t.jsonl", "absent: no games here"),
        ("teach --games badgames --jobs 1 --out t.jsonl", "not a game duomem can play"),
        ("teach --games badgames --jobs 2 --out t.jsonl", "not a game duomem can play"),
        ("teach --games games --jobs 1 --limit 1 --out empty", "empty: is a folder"),
        ("teach --games games --jobs 1 --limit 1 --out file/t.jsonl", "file"),
        ("pack build absent --out a.dmpack", "absent: no such trajectory file"),
        ("pack build empty --out a.dmpack", "empty: cannot read this trajectory file: Is a directory"),
        ("pack build file --out a.dmpack", "file: line 1 of this trajectory file is not JSON"),
        ("pack build valid.jsonl --out a.dmpack", "field split is 'valid_seen'"),
        ("pack show absent", "absent: no such memory pack"),
        ("pack show file", "file: memory pack is damaged"),
        ("pack show empty", "empty: cannot read this memory pack: Is a directory"),
        ("pack search file mug", "file: memory pack is damaged"),
        ("train --config gpt --trajectories file --pack file --out a", "--config gpt: no such student"),
        ("train --config absent.toml --trajectories file --pack file --out a", "absent.toml: no such student config"),
        (
            "train --config bad.toml --trajectories file --pack file --out a",
            "bad.toml: this student config is not valid",
        ),
        ("train --config odd.toml --trajectories file --pack file --out a", "odd.toml: unknown field layers"),
        ("train --config local.toml --trajectories file --pack file --out a", "empty: no config.json"),
        ("train --minutes nan --trajectories file --pack file --out a", "minutes must be 0 (no limit) or above"),
        ("train --minutes -1 --trajectories file --pack file --out a", "minutes must be 0 (no limit) or above"),
        ("merge --config local.toml --adapter absent --out m", "empty: no config.json"),
        ("base --config local.toml", "empty: no config.json"),
        ("compile absent --out b", "absent"),
        ("compile empty --out b", "empty"),
        ("compile empty --target toaster --out b", ""),
        ("play absent --games games", "absent"),
        ("play bundle --games games", "bundle/bundle.json: field format"),
        ("play bundle --game absent.tw-pddl", "absent.tw-pddl: cannot read this game"),
        ("play bundle --game file", "file: game is not valid JSON"),
        ("play bundle --games games --game 7", "--game 7: valid_seen has 6 games: give a number from 1 to 6"),
        ("play bundle --games games --game 0", "--game 0"),
        ("play bundle --games games --game \u00b2", "\u00b2: cannot read this game"),
        ("eval absent --games games", "absent/bundle.json: no such bundle"),
        ("eval bundle --games games --jobs 1", "bundle/bundle.json: field format"),
        ("eval bundle --games games --jobs 2", "bundle/bundle.json: field format"),
        ("eval bundle --games games --pack absent", "absent: no such memory pack"),
        ("eval bundle --games absent", "absent: no games here"),
        ("report absent", "absent: no such episode file"),
        ("report file", "file: line 1 of this episode file is not JSON"),
        ("report label=valid.jsonl", "valid.jsonl: line 1: field seconds is not a number"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)
def test_one_line(place: Path, capfd: pytest.CaptureFixture[str], command: str, said: str) -> None:
    before = _tree(place)
    status = main(command.split(" "))
    out, err = capfd.readouterr()
    assert status == 1 and out == ""
    assert err.startswith("duomem: error: ") and said in err and err.count("\n") == 1 and err.endswith("\n")
    assert [p for p in _tree(place) if Path(p).name != "priors.json"] == before


def _bundle_damage() -> list[Callable[[Path], object]]:
    return [
        lambda b: (b / "bundle.json").unlink(),
        lambda b: os.truncate(b / "bundle.json", 50),
        lambda b: next((b / "lib").iterdir()).write_bytes(b"\x7fELF"),
        lambda b: (b / "model" / "tokenizer.json").write_text("{}"),
        lambda b: (b / "extra").write_text(""),
    ]


@pytest.mark.parametrize("damage", _bundle_damage(), ids=range(5))
@pytest.mark.parametrize("verb", ["play", "eval"])
def test_a_damaged_bundle(
    place: Path, tiny_bundle: Path, capfd: pytest.CaptureFixture[str], verb: str, damage: Callable[[Path], object]
) -> None:
    bundle = place / "compiled"
    shutil.copytree(tiny_bundle, bundle)
    damage(bundle)
    before = _tree(place)
    assert main([verb, str(bundle), "--games", "games"]) == 1
    err = capfd.readouterr().err
    assert err.startswith(f"duomem: error: {bundle}") and err.count("\n") == 1
    assert _tree(place) == before


def test_a_damaged_adapter(place: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    (place / "tiny.toml").write_text(f'model = "{tiny_model}"\n')
    for name, content in (("adapter_config.json", "{}"), ("adapter_model.safetensors", "damaged")):
        (place / "empty" / name).write_text(content)
    before = _tree(place)
    assert main(["merge", "--config", "tiny.toml", "--adapter", "empty", "--out", "merged"]) == 1
    err = capfd.readouterr().err
    assert err.startswith("duomem: error: empty: this adapter is damaged") and err.count("\n") == 1
    assert _tree(place) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["teach"],
        ["eval", "b", "--protocol", "greedy"],
        ["eval", "b", "--limit", "0"],
        ["teach", "--out", "t", "--jobs", "-1"],
        ["teach", "--out", "t", "--max-steps", "0"],
        ["train", "--threads", "-1"],
        ["eval", "b", "--split", "test"],
        ["eval", "b", "--k", "x"],
    ],
)
def test_wrong_usage(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2 and "Traceback" not in capfd.readouterr().err


def _run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "duomem.cli.main", *map(str, arguments)], capture_output=True, text=True, **options
    )


def test_the_process_as_a_shell_sees_it(place: Path) -> None:
    done = _run("pack", "show", "file")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("duomem: error: file: memory pack is damaged") and done.stderr.count("\n") == 1
    done = _run("pack", "show", "good.dmpack")
    assert done.returncode == 0 and done.stdout.startswith("good.dmpack: good, 1 memories by expert/1")


def test_a_closed_pipe(place: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "duomem.cli.main", "pack", "show", "good.dmpack"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
