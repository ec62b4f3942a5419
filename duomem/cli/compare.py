"""`duomem compare`: base and LoRA student, each without memory, with its own and with the teacher's, and baselines.

Stop it with Ctrl-C, run it again, it goes on; the table is written anew after every condition.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from duomem.cli.game_options import GameChoice, games_options
from duomem.cli.options import PACK, check_context, cores_unless, jobs_option, play_options, ray_option
from duomem.cli.values import BundleFolder, InputFile, Labelled, OutputFolder

if TYPE_CHECKING:
    from duomem.device.agent.evaluate import PlayConfig

_NAME = "compare"


@click.command(short_help="Play and compare students, memories and the teacher.")
@click.option("--base", type=BundleFolder(), metavar="BUNDLE", help="The compiled base model.")
@click.option("--base-self", type=PACK, metavar="PACK", help="Memories of the base model's own wins.")
@click.option(
    "--lora",
    type=Labelled(BundleFolder()),
    multiple=True,
    metavar="[SEED=]BUNDLE",
    help="A compiled trained student. Repeat it for every other training seed.",
)
@click.option(
    "--lora-self",
    type=Labelled(PACK),
    multiple=True,
    metavar="[SEED=]PACK",
    help="Memories of that student's own wins. Repeat it for every other training seed.",
)
@click.option(
    "--taught",
    type=click.Choice(("expert", "llm", "reward")),
    default="expert",
    help="What the trained students learned from.",
)
@click.option("--pack", type=PACK, metavar="PACK", help="The teacher's memories.")
@click.option(
    "--teacher",
    type=InputFile("episode file"),
    metavar="FILE",
    help="The teacher's episodes on these games.",
)
@click.option(
    "--teacher-endpoint",
    "endpoint",
    metavar="URL",
    help="Play the teacher too: a model behind an OpenAI-compatible endpoint, asked as `duomem teach` asks it.",
)
@click.option("--teacher-model", "model", metavar="NAME", help="Name of the model at --teacher-endpoint.")
@click.option("--teacher-style", "style", default="react", metavar="NAME", help="Its prompt style, see `duomem teach`.")
@click.option(
    "--row",
    "rows",
    type=Labelled(InputFile("episode file")),
    multiple=True,
    metavar="NAME=FILE",
    help="Other episodes on these games, as a row of that name. Repeat it for more.",
)
@click.option(
    "--protocol",
    "protocols",
    type=click.Choice(("free", "constrained")),
    multiple=True,
    show_default="both",
    help="How a student acts. Repeat it for the other one.",
)
@play_options
@games_options("valid_seen")
@jobs_option
@ray_option
@click.option(
    "--out",
    type=OutputFolder(),
    required=True,
    metavar="DIR",
    help=f"Folder for {_NAME}.md, {_NAME}.json, {_NAME}.png and the episodes.",
)
@click.pass_obj
def compare(
    words: list[str],
    base: Path | None,
    base_self: Path | None,
    lora: tuple[tuple[str, Path], ...],
    lora_self: tuple[tuple[str, Path], ...],
    taught: str,
    pack: Path | None,
    teacher: Path | None,
    endpoint: str | None,
    model: str | None,
    style: str,
    rows: tuple[tuple[str, Path], ...],
    protocols: tuple[str, ...],
    play: PlayConfig,
    games: GameChoice,
    jobs: int | None,
    ray: str | None,
    out: Path,
) -> None:
    """Play the base model and trained students with no memory, their own memories and the teacher's, and compare.

    Beside them play those that need no model: random commands, and a string matcher with the teacher's memories.
    All conditions play the same games. An interrupted run goes on where it stopped, and the table is written again
    after every condition.
    """
    import time

    from duomem.core.parallel import process_count
    from duomem.report.ablation import AblationGrid, Student, plan, run_grid
    from duomem.report.write import make_page, write_page

    own = dict(lora_self)
    _check(base, base_self, lora, own)
    _check_rows(rows)
    if (endpoint is None) != (model is None):
        raise click.UsageError("--teacher-endpoint and --teacher-model go together: give both or neither.")
    if endpoint and teacher:
        raise click.UsageError(
            "--teacher-endpoint: --teacher FILE has the teacher's episodes already: give one of them."
        )
    for bundle in filter(None, (base, *(bundle for _, bundle in lora))):
        check_context(bundle, play.context_length)
    if endpoint and model:
        teacher = _play_teacher(endpoint, model, style, play.max_steps, games, out)
    students = tuple(Student(bundle, seed, own.get(seed)) for seed, bundle in lora)
    grid = AblationGrid(
        (Student(base, "", base_self),) if base else (),
        students,
        taught,
        pack,
        teacher,
        protocols or ("free", "constrained"),
        play,
        games.goals,
        rows,
        games.world,
    )
    chosen, processes = games.files(), cores_unless(jobs, ray)
    planned = plan(grid, chosen, games.split, out / "episodes")
    started, results = time.monotonic(), []
    for result in run_grid(grid, planned, chosen, games.split, processes):
        results.append(result)
        print(f"{result.condition.panel}: {result.condition.name}: {result.success:.1%} of {result.n}", flush=True)
        played = sum((run.seconds or 0) * len(run.won) for r in results for run in r.runs)
        facts = {
            "games": f"{len(chosen)} of {games.split}, {play.max_steps} steps, greedy, k = {play.k}",
            "goals": str(games.goals),
            "processes": process_count(processes),
            "seconds of all episodes": round(played),
            "seconds of this call": round(time.monotonic() - started),
        }
        page = make_page("Students compared", "", results, ["duomem", *words], facts)
        write_page(out, _NAME, page)
    print(f"\n{page.markdown()}\n{out / f'{_NAME}.md'}")


def _play_teacher(endpoint: str, model: str, style: str, max_steps: int, games: GameChoice, out: Path) -> Path:
    """The file of the teacher's episodes on the games, one each."""
    from duomem.core.chat.address import Endpoint
    from duomem.core.chat.endpoint import EndpointModel
    from duomem.train.teachers.llm.policy import Asking
    from duomem.train.teachers.llm.style import find_style
    from duomem.train.teachers.llm.teach import LlmTeaching, teach_llm

    asked = EndpointModel(Endpoint.of_environment(model, endpoint))
    file = out / "episodes" / "teacher.jsonl"
    teaching = LlmTeaching(Asking(find_style(style)), max_steps)
    teach_llm(games.files(), games.split, asked, file, teaching, games.goals)
    return file


def _check(base: Path | None, base_self: Path | None, lora: tuple[tuple[str, Path], ...], own: dict[str, Path]) -> None:
    """Raises UsageError if there is no student, for packs without a student, and for seeds given twice."""
    if base is None and not lora:
        raise click.UsageError("no student to play: give --base, --lora or both.")
    if base_self and not base:
        raise click.UsageError("--base-self: whose memories are these? Give --base too.")
    seeds = [seed for seed, _ in lora]
    if len(seeds) != len(set(seeds)):
        raise click.UsageError("--lora: two students of one seed: name each, as --lora 0=DIR --lora 1=DIR.")
    if unused := [str(pack) for seed, pack in own.items() if seed not in seeds]:
        raise click.UsageError(f"--lora-self {min(unused)}: no --lora of that seed: give SEED=PACK as in --lora.")


def _check_rows(rows: tuple[tuple[str, Path], ...]) -> None:
    """Raises UsageError for a row without a name, and for two of one name."""
    names = [name for name, _ in rows]
    if "" in names:
        raise click.UsageError(f"--row {rows[names.index('')][1]}: what is it? Give NAME=FILE.")
    if len(names) != len(set(names)):
        raise click.UsageError("--row: two rows of one name: give each its own.")
