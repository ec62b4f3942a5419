"""`duomem trajectories export` and `import`: trajectory files in the formats of others."""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.game_options import games_folder_option
from duomem.cli.options import TRAJECTORIES
from duomem.cli.values import InputPlace, OutputFile, OutputPlace
from duomem.device.alfworld.game_files import SPLITS

_FORMATS = ("eto", "chat", "atif", "hf")
_format_option = click.option(
    "--format",
    "name",
    type=click.Choice(_FORMATS),
    required=True,
    help="eto: conversations as ETO and AgentTraj have them. chat: messages for trl, axolotl and LLaMA-Factory. atif: "
    "Harbor's trajectory JSON, a folder. hf: a folder for Hugging Face datasets.",
)
_SHOWN = 10


@click.command("export")
@click.argument("file", type=TRAJECTORIES)
@click.argument("out", type=OutputPlace())
@_format_option
def export_command(file: Path, out: Path, name: str) -> None:
    """Write the episodes in FILE to OUT in another format.

    OUT is a file for eto and chat, a folder for atif and hf. What a format has no place for goes into a field named
    duomem. Files that models are trained on hold train episodes alone: only atif takes others.
    """
    from duomem.train.formats.convert import export_trajectories

    count = export_trajectories(file, out, name)
    print(f"{out}: {count} episodes")


@click.command("import")
@click.argument("path", metavar="PATH", type=InputPlace("file or folder of episodes"))
@click.argument("out", type=OutputFile())
@_format_option
@games_folder_option("Folder with the games that were played.")
@click.option("--split", type=click.Choice(SPLITS), default="train", help="Which of them.")
@click.option("--player", metavar="NAME", show_default="import:FORMAT", help="Who played: NAME in the trajectories.")
def import_command(path: Path, out: Path, name: str, root: Path | None, split: str, player: str | None) -> None:
    """Write the episodes in PATH, in another format, to the trajectory file OUT.

    Episodes that duomem exported come back as they were. Others are played again in their games, and those in which the
    game says something else than the file are left out.
    """
    from duomem.device.alfworld.game_files import find_games, resolve_root
    from duomem.train.formats.convert import import_trajectories
    from duomem.train.formats.find_game import GameFinder

    told: list[str] = []

    def tell(line: str) -> None:
        if len(told) < _SHOWN:
            click.echo(f"duomem: left out: {line}", err=True)
        told.append(line)

    def finder() -> GameFinder:
        return GameFinder(find_games(resolve_root(root), split), split, player or f"import:{name}")

    found = import_trajectories(path, out, name, finder, tell)
    if found.refused > _SHOWN:
        click.echo(f"duomem: left out: {found.refused - _SHOWN} more", err=True)
    print(
        f"{out}: {found.taken + found.replayed} episodes, {found.won} won; {found.taken} as duomem wrote them, "
        f"{found.replayed} played again, {found.refused} left out"
    )


FORMAT_COMMANDS = (export_command, import_command)
