"""`duomem pack build`: a memory pack from trajectories.

Memories come from train games only.
"""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.options import TRAJECTORIES
from duomem.cli.pack_look import describe
from duomem.cli.values import COUNT, OutputFile
from duomem.cli.writer_options import PROGRAM, WriterChoice, writer_options
from duomem.memory_packs.manifest import UNRELEASED
from duomem.memory_packs.memory_format import MAX_STEPS, MEMORY_FORMATS


@click.command("build")
@click.argument("trajectories", type=TRAJECTORIES)
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Pack to write (.dmpack).")
@click.option("--name", show_default="the file's", help="Name of the pack.")
@click.option(
    "--memory-format", type=click.Choice(tuple(MEMORY_FORMATS)), default="script", help="What a memory tells."
)
@click.option(
    "--max-steps", type=COUNT, default=MAX_STEPS, metavar="N", help="Most steps of a memory; later ones are left out."
)
@click.option(
    "--max-entries",
    type=COUNT,
    metavar="N",
    show_default="all",
    help="Most entries. Goals that many games have are kept first.",
)
@click.option(
    "--max-tokens",
    type=COUNT,
    metavar="N",
    show_default="any number",
    help="Most tokens of all entries, three letters a token.",
)
@click.option(
    "--hold-out-scene",
    "scenes",
    metavar="N",
    multiple=True,
    help="Floor plan of which nothing is read, the number at the end of a game's folder. Repeat it for more.",
)
@writer_options
@click.option("--version", default=UNRELEASED.version, metavar="X.Y.Z", help="Version of the pack.")
@click.option("--licence", default=UNRELEASED.licence, metavar="SPDX", help="Licence of the pack.")
@click.option(
    "--upstream-licence",
    "upstream",
    metavar="SPDX",
    multiple=True,
    help="Licence of what it was made from. Repeat it for more.",
)
def build(
    trajectories: Path,
    out: Path,
    name: str | None,
    memory_format: str,
    max_steps: int,
    max_entries: int | None,
    max_tokens: int | None,
    scenes: tuple[str, ...],
    writer: WriterChoice,
    version: str,
    licence: str,
    upstream: tuple[str, ...],
) -> None:
    """Make a memory pack of the won train episodes in TRAJECTORIES.

    TRAJECTORIES is a file written by `duomem teach` or `duomem eval`. Memories that say the same become one entry.

    A model's answers are kept in FILE.answers.jsonl: an interrupted run, or the same one again, asks for none twice.
    """
    from duomem.device.agent.prompt import PROMPT_VERSION
    from duomem.memory_packs.build import build_pack
    from duomem.memory_packs.manifest import Release
    from duomem.memory_packs.writers.answers import answers_beside, read_answers

    release = Release(
        version=version, licence=licence, upstream_licences=tuple(upstream), prompt_version=PROMPT_VERSION
    )
    built = build_pack(
        trajectories,
        out,
        name or out.stem,
        memory_format,
        max_steps,
        max_entries=max_entries,
        max_tokens=max_tokens,
        hold_out_scenes=scenes,
        release=release,
        writer=writer.model_writer(),
    )
    describe(out, built)
    if writer.source != PROGRAM:
        file = answers_beside(out)
        answers = read_answers(file).values()
        read, wrote = sum(a.prompt_tokens for a in answers), sum(a.completion_tokens for a in answers)
        print(f"{file}: {len(answers)} answers, {read} tokens read, {wrote} written")
