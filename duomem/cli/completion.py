"""`duomem completion`: the script that makes a shell complete duomem's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

COMPLETE = "_DUOMEM_COMPLETE"
"""The variable in which the shell asks for completions."""


@click.command(short_help="Print a script for shell completion.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete duomem's commands and options.

    \b
    bash: duomem completion bash > ~/.duomem-completion.bash
          and in ~/.bashrc: . ~/.duomem-completion.bash
    zsh:  duomem completion zsh > ~/.duomem-completion.zsh
          and in ~/.zshrc: . ~/.duomem-completion.zsh
    fish: duomem completion fish > ~/.config/fish/completions/duomem.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise RuntimeError(f"click knows no shell {shell}")
    print(kind(ctx.find_root().command, {}, "duomem", COMPLETE).source())
