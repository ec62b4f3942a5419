"""`duomem pack`: build a memory pack from trajectories, look into one, search it.

Memories come from train games only.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from duomem.cli.catalogue import CATALOGUE_COMMANDS
from duomem.cli.options import PACK, TRAJECTORIES, CommandGroup
from duomem.cli.values import COUNT, OutputFile
from duomem.memory_packs.memory_format import MAX_STEPS, MEMORY_FORMATS
from duomem.memory_packs.retriever import MAX_MEMORIES


@click.group(cls=CommandGroup)
def pack() -> None:
    """Build, show or search a memory pack; publish packs and pull them."""


@pack.command("build")
@click.argument("trajectories", type=TRAJECTORIES)
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Pack to write (.dmpack).")
@click.option("--name", show_default="the file's", help="Name of the pack.")
@click.option(
    "--memory-format", type=click.Choice(tuple(MEMORY_FORMATS)), default="script", help="What a memory tells."
)
@click.option(
    "--max-steps", type=COUNT, default=MAX_STEPS, metavar="N", help="Most steps of a memory; later ones are left out."
)
def build_command(trajectories: Path, out: Path, name: str | None, memory_format: str, max_steps: int) -> None:
    """Make a memory pack of the won train episodes in TRAJECTORIES.

    TRAJECTORIES is a file written by `duomem teach` or `duomem eval`.
    """
    from duomem.memory_packs.build import build_pack

    build_pack(trajectories, out, name or out.stem, memory_format, max_steps)
    _describe(out)


@pack.command("show")
@click.argument("file", metavar="PACK", type=PACK)
def show_command(file: Path) -> None:
    """Verify PACK and print what is in it."""
    _describe(file)


@pack.command("recall")
@click.argument("file", metavar="PACK", type=PACK)
@click.argument("task")
@click.option("--k", type=COUNT, default=MAX_MEMORIES, metavar="N", help="Most memories to print.")
def recall_command(file: Path, task: str, k: int) -> None:
    """Print the memories in PACK that are nearest to TASK.

    TASK is a goal such as "put a clean mug in desk.", or in your own words if the pack has a lexicon. The number before
    a memory is its nearness, from 0 to 1. If there is none, the exit status is 1.
    """
    from duomem.core.errors import PackError
    from duomem.memory_packs.pack import read_pack

    found = read_pack(file).search(task, k)
    if not found:
        raise PackError(f"{file}: no memory shares a word with {task!r}: describe the task in other words")
    for nearness, memory in found:
        print(f"{nearness:.3f}  {memory.text()}")


def _describe(path: Path) -> None:
    from duomem.memory_packs.pack import read_pack

    read = read_pack(path)
    print(
        f"{path}: {read.name}, {len(read.memories)} memories by {read.author}, "
        f"{path.stat().st_size / 1e6:.2f} MB, sha256 {read.digest}"
    )
    for task_type, n in sorted(Counter(m.task_type.split("/")[0] for m in read.memories).items()):
        print(f"  {n:6d}  {task_type}")


for command in CATALOGUE_COMMANDS:
    pack.add_command(command)
