"""The commands of the README and the docs, run as a user types them, from generated games to a compared student."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest

from duomem.cli.main import cli
from duomem.core.episode_words import DEFAULT_WORLD

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs" / "quickstart.md"
FIVE = 5
"""Of the README's commands; those after them need a server."""
PAGES = [README, ROOT / "shipped" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

SMALLER: dict[str, list[str]] = {
    "games generate": ["--train", "12", "--seen", "6", "--unseen", "6"],
    "teach --synthetic": ["--synthetic", "12"],
    "train": ["--config", "tiny.toml", "--minutes", "1"],
    "student merge": ["--config", "tiny.toml"],
    "compile": ["--min-agreement", "0"],
    "play": ["--max-steps", "2"],
    "watch": ["--max-steps", "2"],
    "eval": ["--max-steps", "2", "--limit", "6"],
    "compare": ["--max-steps", "2", "--limit", "2", "--jobs", "2"],
}
"""What a command gets beside the words of the page: a tiny random student and a few games do for its syntax."""


def blocks(page: Path, language: str = "") -> list[str]:
    """The page's code blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
    return [body for name, body in found if name == language]


def commands(page: Path) -> list[list[str]]:
    """Every `duomem ...` line of the page's code blocks, split as a shell splits it, without its first word."""
    lines = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("duomem ")]


def split_command(words: Sequence[str]) -> tuple[click.Command, list[str], list[str]]:
    """(the click command, its name's words, its arguments)."""
    command: click.Command = cli
    name, arguments = [], list(words)
    while isinstance(command, click.Group):
        name.append(arguments.pop(0))
        assert name[-1] in command.commands, f"no such command: {' '.join(name)}"
        command = command.commands[name[-1]]
    return command, name, arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_documented_commands_are_commands(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their options are there, their choices are choices, and nothing required is missing."""
    monkeypatch.syspath_prepend(ROOT / "examples")  # a world of one's own is there
    for words in commands(page):
        command, _, arguments = split_command(words)
        ctx = click.Context(command)
        values, rest, _ = command.make_parser(ctx).parse_args(arguments)
        assert not rest, f"{words}: {rest}"
        ctx.params["world"] = values.get("world") or DEFAULT_WORLD
        for parameter in command.params:
            value = values.get(parameter.name)
            assert value is not None or not parameter.required, f"{words}: no {parameter.name}"
            if value is not None and isinstance(parameter.type, click.Choice):
                for one in value if parameter.multiple else [value]:
                    parameter.type.convert(one, parameter, ctx)


def test_the_readme_and_the_quickstart_have_commands() -> None:
    assert len(commands(README)) == FIVE + 5
    assert len(commands(QUICKSTART)) >= 15


def run(folder: Path, *arguments: str) -> str:
    """Run a program of this Python in `folder`, without $ALFWORLD_DATA; its standard output."""
    environment = {k: v for k, v in os.environ.items() if k != "ALFWORLD_DATA"} | {"DUOMEM_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=300,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def run_documented(folder: Path, words: Sequence[str]) -> str:
    """Run a page's command with what SMALLER adds; the option that comes last counts."""
    _, name, arguments = split_command(words)
    key = " ".join(name)
    more = SMALLER.get(f"{key} --synthetic" if "--synthetic" in arguments else key, [])
    return run(folder, "-m", "duomem.cli.main", *name, *arguments, *more)


@pytest.mark.slow
def test_quickstart_and_readme(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    """The quickstart trains a student; the README plays it in place of the shipped one."""
    if importlib.util.find_spec("alfworld") is None:
        pytest.skip("the generator reads the alfworld wheel")
    model = make_model(tmp_path / "model", max_position_embeddings=4096)
    (tmp_path / "tiny.toml").write_text(
        f'model = "{model}"\nrank = 2\nmax_steps = 3\nbatch_size = 2\ndtype = "float32"\ncompile = false\n'
    )
    (tmp_path / "shipped").symlink_to(ROOT / "shipped")

    quickstart = [words for words in commands(QUICKSTART) if words != ["games", "list"]]
    said = {" ".join(words[:2]): run_documented(tmp_path, words) for words in quickstart}
    assert "memories by student:" in said["pack build"]
    assert "put a clean mug in desk" in " ".join(quickstart[6]) and said["pack recall"].strip()
    assert "0/6" in said["report student=runs/free.jsonl"]
    (table,) = (tmp_path / "runs" / "grid").glob("*.md")
    assert "| LoRA, teacher memory |" in table.read_text()
    row = json.loads(run(tmp_path, "-m", "duomem.cli.main", "report", "--json", "runs/free.jsonl"))
    assert row
    assert "train: 12 games" in run(tmp_path, "-m", "duomem.cli.main", "games", "list")

    for words in commands(README)[:FIVE]:
        page = run_documented(tmp_path, ["runs/adapter" if w == "shipped/students/smollm2-135m" else w for w in words])
    assert "Your task is to:" in page and "memory: " in page and "lost in 2 steps" in page

    (program,) = blocks(README, "python")
    assert run(tmp_path, "-c", program).splitlines()[-1] in ("won", "lost")
