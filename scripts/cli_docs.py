"""docs/cli.md, made from the command line itself: `python scripts/cli_docs.py > docs/cli.md`.

tests/cli/test_cli_docs.py checks that the file is what this prints.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from duomem.cli.main import cli

_WIDTH = 100
_HEAD = """# The command line

Made by `scripts/cli_docs.py` from the help texts; change those, not this file. `duomem COMMAND --help` prints the same.

Exit status: 0 if all went well, 1 for a missing or damaged file and every other error, 2 for a wrong command line,
130 after Ctrl-C. An error is one line on the error stream.
"""


def commands(command: click.Command, parent: click.Context | None, name: str) -> Iterator[click.Context]:
    """The context of `command`, then of everything below it, with a fixed width of help."""
    ctx = click.Context(command, parent, name, terminal_width=_WIDTH, **command.context_settings)
    yield ctx
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            if found is not None:
                yield from commands(found, ctx, below)


def document() -> str:
    """The text of docs/cli.md."""
    parts = [_HEAD]
    for ctx in commands(cli, None, "duomem"):
        parts.append(f"## {ctx.command_path}\n\n```text\n{ctx.command.get_help(ctx)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
