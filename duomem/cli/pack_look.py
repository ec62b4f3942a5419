"""`duomem pack show`, `recall` and `diff`: what is in a pack, what it has for a goal, and what another has beside it.

All read only; none needs a model.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.options import PACK
from duomem.cli.values import COUNT
from duomem.memory_packs.retriever import MAX_MEMORIES

if TYPE_CHECKING:
    from duomem.memory_packs.pack import Pack


@click.command("show")
@click.argument("file", metavar="PACK", type=PACK)
def show(file: Path) -> None:
    """Verify PACK and print what is in it, with its card."""
    from duomem.memory_packs.pack import read_pack

    describe(file, read_pack(file))


@click.command("recall")
@click.argument("file", metavar="PACK", type=PACK)
@click.argument("task")
@click.option("--k", type=COUNT, default=MAX_MEMORIES, metavar="N", help="Most memories to print.")
@click.option(
    "--place",
    "places",
    metavar="KIND",
    multiple=True,
    show_default="any",
    help="A kind of place in the room, as in coffeetable. Repeat it for more: a goal's target is one of them.",
)
def recall(file: Path, task: str, k: int, places: tuple[str, ...]) -> None:
    """Print the memories in PACK that are nearest to TASK.

    TASK is a goal such as "put a clean mug in desk.", or in your own words if the pack has a lexicon. The number before
    a memory is its nearness, from 0 to 1. If there is none, the exit status is 1.
    """
    from duomem.core.errors import PackError
    from duomem.memory_packs.pack import read_pack

    found = read_pack(file).search(task, k, places)
    if not found:
        raise PackError(f"{file}: no memory shares a word with {task!r}: describe the task in other words")
    for nearness, memory in found:
        print(f"{nearness:.3f}  {memory.text()}")


@click.command("diff")
@click.argument("first", metavar="PACK", type=PACK)
@click.argument("second", metavar="OTHER", type=PACK)
def diff(first: Path, second: Path) -> None:
    """Print what OTHER has beside PACK: entries added (+) and removed (-), by what they say.

    Entries in both may come from other games; that is counted, not listed.
    """
    from duomem.memory_packs.merge import diff_packs

    found = diff_packs(first, second)
    for sign, memories in (("+", found.added), ("-", found.removed)):
        for memory in memories:
            print(f"{sign} {memory.id}  {memory.text()}")
    print(
        f"{len(found.added)} added, {len(found.removed)} removed, {len(found.same)} same, {found.provenance} of these "
        f"from other games; lexicon {'changed' if found.lexicon else 'same'}; "
        f"manifest: {', '.join(found.said) or 'same'}"
    )


def describe(path: Path, pack: Pack) -> None:
    """Print what is in a pack."""
    from duomem.memory_packs.manifest import PROGRAM

    print(
        f"{path}: {pack.name} {pack.version}, {len(pack.memories)} memories by {pack.author}, "
        f"{path.stat().st_size / 1e6:.2f} MB, sha256 {pack.digest}"
    )
    upstream = f", made from {', '.join(pack.upstream_licences)}" if pack.upstream_licences else ""
    prompt = "" if pack.prompt_version is None else f", prompt version {pack.prompt_version}"
    print(f"  licence {pack.licence}{upstream}; {pack.environment}{prompt}")
    if pack.writer != PROGRAM:
        print(f"  written by {pack.writer}, but for {pack.writer.by_program} entries by the program")
    print(f"  at most {pack.k} memories a goal, {pack.token_budget} tokens; content {pack.content_digest}")
    for task_type, n in sorted(Counter(m.task_type.split("/")[0] for m in pack.memories).items()):
        print(f"  {n:6d}  {task_type}")
    for row in pack.evaluations:
        print(
            f"  {row.wins} of {row.n} won, {row.wins / row.n:.1%} [{row.low:.1%}, {row.high:.1%}], {row.split}, "
            f"{row.goals} goals, {row.protocol}, {row.condition}, {row.student[:12]}"
        )
