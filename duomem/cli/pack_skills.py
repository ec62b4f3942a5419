"""`duomem pack export` and `duomem pack import`: a pack as Agent Skills, and Agent Skills as a pack."""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.options import PACK
from duomem.cli.values import InputFile, OutputFile, OutputFolder


@click.command("export")
@click.argument("file", metavar="PACK", type=PACK)
@click.option(
    "--skills", "folder", type=OutputFolder(), required=True, metavar="DIR", help="Folder that gets one a task type."
)
def export_command(file: Path, folder: Path) -> None:
    """Write PACK as Agent Skills: for each task type a folder with a SKILL.md.

    A skill says when to use it and lists the commonest scripts of its task type.
    """
    from duomem.memory_packs.pack import read_pack
    from duomem.memory_packs.skills import export_skills

    for path in export_skills(read_pack(file), folder):
        print(path)


@click.command("import")
@click.argument("files", metavar="SKILL.MD...", nargs=-1, required=True, type=InputFile("skill"))
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Pack to write (.dmpack).")
@click.option("--name", show_default="the file's", help="Name of the pack.")
def import_command(files: tuple[Path, ...], out: Path, name: str | None) -> None:
    """Make a memory pack of Agent Skills, to play and measure with.

    Only the text of each SKILL.md is read: its description becomes the goal of a memory and its numbered list the
    steps. A skill with scripts, executables or code blocks is refused.
    """
    from duomem.memory_packs.skills import import_skills

    pack = import_skills(files, out, name or out.stem)
    print(f"{out}: {pack.name}, {len(pack.memories)} memories of {len(files)} skills, sha256 {pack.digest}")
