"""The README's commands, run as a user types them, from generated games to a played table."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from duomem.cli.main import cli

README = Path(__file__).resolve().parents[2] / "README.md"


def readme_commands() -> list[list[str]]:
    """Every `duomem ...` line of the README's code blocks, split as a shell splits it."""
    blocks = re.findall(r"^```\n(.*?)^```", README.read_text(encoding="utf-8"), re.S | re.M)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("duomem ")]
    return [shlex.split(line, comments=True) for line in lines]


def parse(words: list[str]) -> None:
    """Raises UsageError if a command line names no command, an unknown option, a wrong choice or too little."""
    command: click.Command = cli
    ctx = click.Context(command, info_name="duomem")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(ctx, words)
        assert found is not None
        command, ctx = found, click.Context(found, ctx, name)
    values, rest, _ = command.make_parser(ctx).parse_args(words)
    assert not rest, rest
    for parameter in command.params:
        value = values.get(parameter.name)
        assert value is not None or not parameter.required, f"{ctx.command_path}: no {parameter.name}"
        if value is not None and isinstance(parameter.type, click.Choice):
            for one in value if parameter.multiple else [value]:
                parameter.type.convert(one, parameter, ctx)


def test_readme_commands_are_commands() -> None:
    commands = readme_commands()
    assert len(commands) >= 5
    for command in commands:
        parse(command[1:])


def duomem(folder: Path, *arguments: object) -> str:
    """Run the command in `folder`; its standard output."""
    environment = {k: v for k, v in os.environ.items() if k != "ALFWORLD_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "duomem.cli.main", *map(str, arguments)],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_games_to_table(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    if importlib.util.find_spec("alfworld") is None:
        pytest.skip("the generator reads the alfworld wheel")
    model = make_model(tmp_path / "model", max_position_embeddings=4096)
    (tmp_path / "tiny.toml").write_text(
        f'model = "{model}"\nrank = 2\nmax_steps = 3\nbatch_size = 2\ndtype = "float32"\ncompile = false\n'
    )
    run = lambda *arguments: duomem(tmp_path, *arguments)  # noqa: E731
    run("games", "generate", "--out", "runs/games", "--train", 12, "--seen", 6, "--unseen", 6)
    assert "train: 12 games" in run("games", "list")
    assert "12 train games" in run("teach", "--split", "train", "--out", "runs/train.jsonl")
    assert "memories by expert" in run("pack", "build", "runs/train.jsonl", "--out", "runs/expert.dmpack")
    run(
        "train",
        "--config",
        "tiny.toml",
        "--trajectories",
        "runs/train.jsonl",
        "--pack",
        "runs/expert.dmpack",
        "--minutes",
        1,
        "--out",
        "runs/adapter",
    )
    run("student", "merge", "--config", "tiny.toml", "--adapter", "runs/adapter", "--out", "runs/merged")
    run(
        "compile",
        "runs/merged",
        "--target",
        "host",
        "--quant",
        "q4f32_1",
        "--min-agreement",
        "0",
        "--out",
        "runs/bundle",
    )
    page = run("play", "runs/bundle", "--pack", "runs/expert.dmpack", "--max-steps", 2, "--watch")
    assert "Your task is to:" in page and "memory: " in page and "lost in 2 steps" in page
    row = json.loads(
        run(
            "eval",
            "runs/bundle",
            "--pack",
            "runs/expert.dmpack",
            "--protocol",
            "free",
            "--max-steps",
            2,
            "--jobs",
            2,
            "--json",
            "--out",
            "runs/free.jsonl",
        )
    )
    assert row["scores"]["all"]["n"] == 6
    table = run("report", "tiny=runs/free.jsonl")
    assert "0/6" in table and "95 % interval" in table
    assert "memories by student:" in run("pack", "build", own_rollouts(tmp_path), "--out", "runs/self.dmpack")


def own_rollouts(folder: Path) -> str:
    """A student's episodes on train games, from which self memories are built."""
    duomem(
        folder,
        "eval",
        "runs/bundle",
        "--split",
        "train",
        "--limit",
        2,
        "--max-steps",
        1,
        "--jobs",
        1,
        "--out",
        "runs/self.jsonl",
    )
    return "runs/self.jsonl"
