"""What every command says of itself: its help, docs/cli.md, the completion scripts, the version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from duomem.cli.main import cli, main

ROOT = Path(__file__).parents[2]


def _commands(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = command.commands if isinstance(command, click.Group) else {}
    return [words, *(found for name, one in below.items() for found in _commands(one, (*words, name)))]


COMMANDS = _commands(cli)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith(f"Usage: {' '.join(('duomem', *words))} ")
    description = out.split("\n\n")[1].strip()
    assert description[0].isupper() and description.endswith((".", ":"))


def test_all_commands_are_there() -> None:
    assert {" ".join(words) for words in COMMANDS} == {
        "",
        *("games", "games list", "games generate", "games twc", "teach", "trajectories", "trajectories report"),
        *("trajectories export", "trajectories import", "serve"),
        *("pack", "pack build", "pack show", "pack recall", "pack diff", "pack merge", "pack card"),
        *("pack export", "pack import", "pack export-overlay", "pack page"),
        *("pack search", "pack info", "pack pull", "pack list", "pack update", "pack remove", "pack publish"),
        *("pack catalogue", "pack catalogue add", "pack catalogue list", "pack catalogue remove"),
        *("pack keys", "pack keys new", "pack keys rotate", "pack keys delegate"),
        *("student", "student list", "student base", "student merge", "student publish", "student pull", "train"),
        *("compile", "export", "export mlc", "export gguf"),
        *(
            "play",
            "watch",
            "replay",
            "eval",
            "baseline",
            "baseline random",
            "baseline matcher",
            "report",
            "view",
            "compare",
            "bench",
        ),
        *("kit", "kit make", "kit unpack", "deploy", "deploy push", "deploy rollback", "deploy status"),
        *("doctor", "completion"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_explained(words: tuple[str, ...]) -> None:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help and parameter.help.endswith("."), parameter.name


def test_the_committed_page_is_this_command_line() -> None:
    pinned = "the page is of the pinned click: run `python scripts/cli_docs.py > docs/cli.md`"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "cli_docs.py"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "47"},
    )
    assert (ROOT / "docs" / "cli.md").read_text() == done.stdout, pinned


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_DUOMEM_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_completion_completes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words, position, expected in (
        ("duomem pa", 1, "pack"),
        ("duomem pack r", 2, "recall"),
        ("duomem compile --target ph", 3, "phone"),
        ("duomem pack show absent --", 4, "--help"),
    ):
        monkeypatch.setenv("_DUOMEM_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(position))
        assert main([]) == 0
        assert expected in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("duomem 0.")


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "tokenizers", "tvm", "torch", "transformers", "argparse")
    program = (
        "import sys\nfrom duomem.cli.main import main\nassert main(['--help']) == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
