"""A user's mistake is one line on the error stream, exit status 2 for the command line and 1 for a file; nothing is
written, and nothing slow is loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import episode

from duomem.cli.main import main
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
    memory = Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("look",), "f" * 64, "g")
    write_pack(tmp_path / "good.dmpack", "good", "expert/1", "", [memory])
    played = replace(episode(0, "valid_seen"), game="f" * 64, task_type="f", steps=())
    (tmp_path / "valid.jsonl").write_text(json.dumps(played.to_json()) + "\n")
    (tmp_path / "train.jsonl").write_text(json.dumps(replace(played, split="train").to_json()) + "\n")
    (tmp_path / "bad.toml").write_text("model = ")
    (tmp_path / "odd.toml").write_text('model = "m"\nlayers = 3\n')
    (tmp_path / "local.toml").write_text('model = "empty"\n')
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "adapter").mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (tmp_path / "adapter" / name).write_text("")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    return tmp_path


def _tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


MISSING = [
    ("games list --games absent", "absent: no games here"),
    ("games list", "runs/games: no games here"),
    ("games generate --out good.dmpack/x --train 1 --seen 0 --unseen 0", "good.dmpack: is a file"),
    ("teach --games absent --out t.jsonl", "absent: no games here"),
    ("teach --games badgames --jobs 1 --out t.jsonl", "not a game this engine can play"),
    ("teach --games badgames --jobs 2 --out t.jsonl", "not a game this engine can play"),
    ("teach --games games --jobs 1 --limit 1 --out empty", "empty: is a folder"),
    ("teach --games games --jobs 1 --limit 1 --out file/t.jsonl", "file: is a file: nothing can be written below it"),
    ("teach --games games --student absent --out t.jsonl", "absent: no such bundle folder"),
    ("teach --games games --student bundle --pack file --out t.jsonl", "file: memory pack is damaged"),
    (
        "teach --games games --jobs 1 --goals human --out t.jsonl",
        "traj_data.json: no such file: this game has no goals",
    ),
    ("teach --games games --relabel absent --out t.jsonl", "absent: no such trajectory file"),
    ("teach --games games --relabel file --out t.jsonl", "file: line 1 of this trajectory file is not JSON"),
    ("teach --games games --relabel train.jsonl --out t.jsonl", "line 1: field game: ffffffffffff is none of these"),
    ("pack build absent --out a.dmpack", "absent: no such trajectory file"),
    ("pack build empty --out a.dmpack", "empty: cannot read this trajectory file: Is a directory"),
    ("pack build file --out a.dmpack", "file: line 1 of this trajectory file is not JSON"),
    ("pack build valid.jsonl --out a.dmpack", "field split is 'valid_seen'"),
    ("pack show absent", "absent: no such memory pack"),
    ("pack show file", "file: memory pack is damaged"),
    ("pack show empty", "empty: cannot read this memory pack: Is a directory"),
    ("pack recall file mug", "file: memory pack is damaged"),
    ("pack recall good.dmpack xylophone", "good.dmpack: no memory shares a word with 'xylophone'"),
    ("train --trajectories absent --pack good.dmpack --out a", "absent: no such trajectory file"),
    ("train --trajectories file --pack absent --out a", "absent: no such memory pack"),
    ("train --trajectories file --pack good.dmpack --out a", "file: line 1 of this trajectory file is not JSON"),
    ("train --trajectories train.jsonl --pack file --out a", "file: memory pack is damaged"),
    ("train --trajectories train.jsonl --pack good.dmpack --start empty --out a", "adapter_model.safetensors: no such"),
    ("train --trajectories train.jsonl --pack good.dmpack --out file", "file: is a file, a folder is to be written"),
    ("train --config absent.toml --trajectories file --pack file --out a", "absent.toml: no such student config"),
    ("train --config bad.toml --trajectories file --pack file --out a", "bad.toml: this student config is not valid"),
    ("train --config odd.toml --trajectories file --pack file --out a", "odd.toml: unknown field layers"),
    ("train --config local.toml --trajectories train.jsonl --pack good.dmpack --out a", "empty: no config.json"),
    ("student merge --config local.toml --adapter absent --out m", "absent/adapter_model.safetensors: no such LoRA"),
    ("student merge --config local.toml --adapter adapter --out m", "empty: no config.json"),
    ("student base --config local.toml", "empty: no config.json"),
    ("compile absent --out b", "absent: no such model folder"),
    ("compile empty --out b", "empty: no config.json in it"),
    ("compile model --out file", "file: is a file, a folder is to be written"),
    ("compile model --out b", "model/config.json: "),
    ("compile model --calibrate absent --out b", "absent: no such trajectory file"),
    ("export mlc absent --out b", "absent: no such model folder"),
    ("export gguf absent --out b", "absent: no such bundle folder"),
    ("export gguf bundle --out empty", "empty: is a folder"),
    ("play absent --games games", "absent: no such bundle folder"),
    ("play empty --games games", "empty/bundle.json: no such bundle"),
    ("play bundle --games games", "bundle/bundle.json: field format"),
    ("play bundle --games games --pack absent", "absent: no such memory pack"),
    ("play bundle --games games --pack file", "file: memory pack is damaged"),
    ("play bundle --game absent.tw-pddl", "absent.tw-pddl: cannot read this game"),
    ("play bundle --game file", "file: game is not valid JSON"),
    ("play bundle --games games --game 7", "--game 7: valid_seen has 6 games: give a number from 1 to 6"),
    ("play bundle --games games --game 0", "--game 0"),
    ("play bundle --games games --game \u00b2", "\u00b2: cannot read this game"),
    ("play bundle --games games --goals human", "traj_data.json: no such file: this game has no goals in people's"),
    ("play bundle --games games --goal ", "a goal must be a line of 1 to 500 printable letters"),
    ("eval absent --games games", "absent: no such bundle folder"),
    ("eval bundle --games games --jobs 1 --goals human", "traj_data.json: no such file: this game has no goals in"),
    (
        "eval bundle --games games --goals human --annotation all",
        "traj_data.json: no such file: this game has no goals",
    ),
    (
        "compare --base bundle --games games --goals human --out c",
        "traj_data.json: no such file: this game has no goals",
    ),
    ("eval bundle --games games --jobs 1", "bundle/bundle.json: field format"),
    ("eval bundle --games games --jobs 2", "bundle/bundle.json: field format"),
    ("eval bundle --games games --pack absent", "absent: no such memory pack"),
    ("eval bundle --games absent", "absent: no games here"),
    ("report absent", "absent: no such episode file"),
    ("report file", "file: line 1 of this episode file is not JSON"),
    ("report label=valid.jsonl", "valid.jsonl: line 1: field seconds is not a number"),
    ("bench empty", "empty/bundle.json: no such bundle"),
    ("kit make --bundle absent --platform x86_64 --out k", "absent: no such bundle folder"),
    ("kit make --bundle bundle --platform x86_64 --pack file --out k", "file: memory pack is damaged"),
    ("kit make --bundle bundle --platform x86_64 --games absent --out k", "absent: no such folder of games"),
    ("kit unpack absent --out k", "absent: no such archive"),
    ("kit unpack file --out k", "file: "),
    ("deploy push adb absent", "absent: no such bundle folder"),
    ("deploy status ssh://device --ssh-config absent", "absent: no such ssh configuration"),
    ("doctor --bundle absent", "absent: no such bundle folder"),
]

USAGE = [
    ("", "Missing command: see `duomem --help`"),
    ("sing", "No such command 'sing'"),
    ("games", "Missing command: see `duomem games --help`"),
    ("students", "No such command 'students'"),
    ("teach", "Missing option '--out': see `duomem teach --help`"),
    ("teach --out t --jobs -1", "'--jobs': -1 is not in the range x>=1"),
    ("teach --out t --max-steps 0", "'--max-steps': 0 is not in the range x>=1"),
    ("teach --out t --noise-rate 2", "'--noise-rate': 2.0 is not in the range 0<=x<=1"),
    ("teach --out t --student bundle --synthetic 3", "--student: its own mistakes are played"),
    ("teach --out t --pack good.dmpack", "--pack good.dmpack: the expert reads no memories"),
    ("teach --out t --synthetic 3 --split valid_seen", "--split valid_seen: synthetic tasks are for training"),
    ("teach --out t --misread-rate 2 --goals human", "'--misread-rate': 2.0 is not in the range 0<=x<=1"),
    ("teach --out t --misread-rate 0.5", "--misread-rate: only people's words are misread: give --goals human"),
    ("teach --out t --misread-rate 0.5 --goals human --synthetic 3", "--misread-rate: only people's words are misread"),
    ("teach --out t --misread-rate 0.5 --goals human --student bundle", "--misread-rate: only people's words are"),
    ("teach --out t --goals human --synthetic 3", "--goals human: synthetic tasks have words of their own"),
    ("teach --out t --relabel train.jsonl --noise-rate 0.1", "--relabel: nothing is played"),
    ("teach --out t --relabel train.jsonl --goals human --misread-rate 0.1", "--relabel: nothing is played"),
    ("teach --out t --relabel train.jsonl --synthetic 3", "--relabel: nothing is played"),
    ("teach --out t --relabel train.jsonl --student bundle", "--relabel: nothing is played"),
    ("teach --out t --goals mine", "'--goals': 'mine' is not one of 'template', 'human'"),
    ("teach --out t --task-type sing", "'--task-type': 'sing' is not one of"),
    ("pack build train.jsonl --out p --memory-format poem", "'--memory-format': 'poem' is not one of"),
    ("train --threads -1", "'--threads': -1 is not in the range x>=1"),
    (
        "train --config gpt --trajectories train.jsonl --pack good.dmpack --out a",
        "gpt: no such student: known are gemma",
    ),
    (
        "train --minutes nan --trajectories train.jsonl --pack good.dmpack --out a",
        "minutes must be 0 (no limit) or above",
    ),
    (
        "train --minutes -1 --trajectories train.jsonl --pack good.dmpack --out a",
        "minutes must be 0 (no limit) or above",
    ),
    (
        "train --trajectories train.jsonl good.dmpack --pack good.dmpack --out a",
        "unexpected extra argument (good.dmpack)",
    ),
    ("student base --config gpt", "gpt: no such student"),
    ("compile model --target toaster --out b", "'--target': 'toaster' is not one of 'aarch64'"),
    ("compile model --quant q3 --out b", "'--quant': 'q3' is not one of 'q0f32'"),
    ("compile model --context 10 --out b", "'--context': 10 is not in the range x>=64"),
    ("compile model --format mlc --out b", "No such option '--format'"),
    ("play bundle --games games --context 10", "'--context': 10 is not in the range x>=64"),
    ("play bundle --games games --goals human --goal mine", "--goal: these are your own words"),
    ("play bundle --games games --goals human --annotation all", "--annotation all: one game is played once"),
    ("eval bundle --goals human --annotation -1", "'--annotation': '-1' is no number from 0 on, nor all"),
    ("eval bundle --goals human --annotation first", "'--annotation': 'first' is no number from 0 on, nor all"),
    ("eval bundle --goals human --annotation 1.5", "'--annotation': '1.5' is no number from 0 on, nor all"),
    ("eval bundle --goals human --annotation 10000", "'--annotation': '10000' is no number from 0 on, nor all"),
    ("eval bundle --goals human --annotation \u00b2", "'--annotation': '\u00b2' is no number from 0 on, nor all"),
    ("eval bundle --protocol greedy", "'--protocol': 'greedy' is not one of 'constrained', 'free'"),
    ("eval bundle --limit 0", "'--limit': 0 is not in the range x>=1"),
    ("eval bundle --split test", "'--split': 'test' is not one of 'train'"),
    ("eval bundle --k x", "'--k': 'x' is not a valid integer range"),
    ("report valid.jsonl --out empty", "--out: a page needs a .toml"),
    ("report bad.toml valid.jsonl", "bad.toml: one .toml describes all conditions"),
    ("kit make --bundle bundle --out k", "Missing option '--platform'"),
    ("kit make --bundle bundle --platform x86_64 --python 2.7 --out k", "--python 2.7: give a version from 3.11 on"),
    ("deploy push ftp://x bundle", "'ftp://x': is no address of a device"),
    ("deploy push adb bundle --bench-arguments x", "--bench-arguments: of which benchmark?"),
    ("deploy push adb", "Missing argument 'BUNDLE'"),
    ("deploy status adb --ssh-config file", "--ssh-config: adb is reached by adb"),
    ("doctor --require venus", "venus: no such target"),
    ("completion csh", "'csh' is not one of 'bash', 'zsh', 'fish'"),
]


def _check_line(place: Path, capfd: pytest.CaptureFixture[str], command: str, status: int, said: str) -> None:
    before = _tree(place)
    assert main(command.split(" ") if command else []) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("duomem: error: ") and said in err and err.count("\n") == 1 and err.endswith("\n")
    assert [p for p in _tree(place) if Path(p).name != "priors.json"] == before


@pytest.mark.parametrize(("command", "said"), MISSING, ids=lambda value: value[:60])
def test_a_missing_or_damaged_file(place: Path, capfd: pytest.CaptureFixture[str], command: str, said: str) -> None:
    _check_line(place, capfd, command, 1, said)


@pytest.mark.parametrize(("command", "said"), USAGE, ids=lambda value: value[:60])
def test_wrong_usage(place: Path, capfd: pytest.CaptureFixture[str], command: str, said: str) -> None:
    _check_line(place, capfd, command, 2, said)


SLOW = ("torch", "transformers", "tvm", "peft", "safetensors", "huggingface_hub", "subprocess.Popen")


def test_wrong_input_is_told_before_anything_slow(place: Path) -> None:
    """Every wrong command above, in one Python where loading a model library or starting a process is an error."""
    late = {"teach --games badgames --jobs 2 --out t.jsonl", "eval bundle --games games --jobs 2"}
    late |= {"eval bundle --games games --jobs 1", "play bundle --games games"}  # the engine itself verifies a bundle
    commands = [(command, 1) for command, _ in MISSING if command not in late] + [(command, 2) for command, _ in USAGE]
    program = f"""
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SLOW!r}:
            raise AssertionError(name + " is loaded")
sys.meta_path.insert(0, Finder())
def hook(event, arguments):
    if event in {SLOW!r}:
        raise AssertionError(f"{{arguments}} is started")
sys.addaudithook(hook)
from duomem.cli.main import main
for command, status in {commands!r}:
    try:
        found = main(command.split(" ") if command else [])
    except BaseException as e:
        found = repr(e)
    if found != status:
        print(command, found)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]


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


@pytest.mark.parametrize("verb", ["play", "eval"])
def test_a_context_the_bundle_does_not_have(
    place: Path, tiny_bundle: Path, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    assert main([verb, str(tiny_bundle), "--games", "games", "--context", "257"]) == 1
    err = capfd.readouterr().err
    assert f"--context 257: {tiny_bundle} was compiled for at most 256 tokens: give 64 to 256" in err
    assert err.count("\n") == 1


def test_a_damaged_adapter(place: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    (place / "tiny.toml").write_text(f'model = "{tiny_model}"\n')
    for name, content in (("adapter_config.json", "{}"), ("adapter_model.safetensors", "damaged")):
        (place / "empty" / name).write_text(content)
    before = _tree(place)
    assert main(["student", "merge", "--config", "tiny.toml", "--adapter", "empty", "--out", "merged"]) == 1
    err = capfd.readouterr().err
    assert err.startswith("duomem: error: empty: this adapter is damaged") and err.count("\n") == 1
    assert _tree(place) == before


def _run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "duomem.cli.main", *map(str, arguments)], capture_output=True, text=True, **options
    )


def test_the_process_as_a_shell_sees_it(place: Path) -> None:
    done = _run("pack", "show", "file")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("duomem: error: file: memory pack is damaged") and done.stderr.count("\n") == 1
    done = _run("pack", "show", "good.dmpack")
    assert done.returncode == 0 and done.stdout.startswith("good.dmpack: good 0.1.0, 1 memories by expert/1")


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
