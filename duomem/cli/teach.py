"""`duomem teach`: a teacher plays games and writes trajectories: the expert, or a language model.

What the expert knows of where things are comes from the train games under the same root.
"""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.game_options import GameChoice, games_options
from duomem.cli.options import PACK, TRAJECTORIES, cores_unless, jobs_option, ray_option
from duomem.cli.teacher_options import TeacherChoice, check_given, teacher_options
from duomem.cli.values import COUNT, SHARE, BundleFolder, OutputFile
from duomem.core.episode_words import DEFAULT_WORLD, TEMPLATE
from duomem.core.trajectory import TRAIN_SPLIT


@click.command(short_help="Write a teacher's trajectories.")
@games_options("train")
@teacher_options
@jobs_option
@ray_option
@click.option("--max-steps", type=COUNT, default=50, metavar="N", help="Most steps of an episode.")
@click.option(
    "--noise-rate",
    type=SHARE,
    default=0.0,
    metavar="RATE",
    help="Share of steps at which a wrong command is played, from which the expert recovers.",
)
@click.option(
    "--misread-rate",
    type=SHARE,
    default=0.0,
    metavar="RATE",
    help="With --goals human: share of episodes in which the words are first misread; the expert goes on from there.",
)
@click.option(
    "--relabel",
    type=TRAJECTORIES,
    metavar="FILE",
    help="Play nothing: tell the episodes of this file again in the words of --goals and --annotation.",
)
@click.option(
    "--synthetic",
    type=COUNT,
    metavar="N",
    show_default="the games' own tasks",
    help="Play N episodes of synthetic tasks in the games' scenes instead.",
)
@click.option(
    "--student",
    type=BundleFolder(),
    metavar="BUNDLE",
    help="A compiled student that plays each game first, until the expert takes over (DAgger).",
)
@click.option("--pack", type=PACK, metavar="FILE", show_default="no memories", help="Memory pack for that student.")
@click.option(
    "--no-priors",
    is_flag=True,
    help="Let the expert know nothing of where things tend to be: it looks through the kinds of places by name.",
)
@click.option(
    "--seed", type=int, default=0, metavar="N", help="Seed of noise, hand-overs, synthetic tasks and a model's draws."
)
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="Trajectory file to write (.jsonl).")
def teach(
    games: GameChoice,
    teacher: TeacherChoice,
    jobs: int | None,
    ray: str | None,
    max_steps: int,
    noise_rate: float,
    misread_rate: float,
    relabel: Path | None,
    synthetic: int | None,
    student: Path | None,
    pack: Path | None,
    no_priors: bool,
    seed: int,
    out: Path,
) -> None:
    """Let a teacher play games, and write its trajectories.

    Where the expert looks first comes from the train games in the same folder, unless --no-priors is given. A language
    model is asked for every command; its thoughts are kept. An interrupted run goes on where it stopped. Students learn
    from trajectories of the train split only.
    """
    check_given(teacher)
    if games.world != DEFAULT_WORLD:
        if teacher.source != "expert" or relabel or synthetic or student or misread_rate or no_priors or ray:
            raise click.UsageError(
                f"--world {games.world}: its own expert plays: leave out --teacher, --student, --synthetic, --relabel, "
                "--misread-rate, --no-priors and --ray."
            )
        from duomem.train.teachers.own_expert import teach_own_expert

        chosen = games.files()
        counts = teach_own_expert(
            games.world, chosen, games.split, out, cores_unless(jobs), max_steps, noise_rate, seed
        )
        _print_counts(out, counts, f"{games.split} games")
        return
    if teacher.source != "expert":
        _teach_llm(games, teacher, max_steps, seed, out)
        return
    from duomem.device.agent.evaluate import EvalConfig, PlayConfig
    from duomem.device.alfworld.game_files import find_games, resolve_root
    from duomem.memory_packs.pack import read_pack
    from duomem.train.synthetic.teach import teach_synthetic
    from duomem.train.teachers.relabel import relabel as tell_again
    from duomem.train.teachers.teach import learn_priors
    from duomem.train.teachers.teach import teach as play_expert

    if student and (synthetic or noise_rate):
        raise click.UsageError("--student: its own mistakes are played: leave out --noise-rate and --synthetic.")
    if pack and not student:
        raise click.UsageError(f"--pack {pack}: the expert reads no memories: give the --student that reads them.")
    if synthetic and games.split != TRAIN_SPLIT:
        raise click.UsageError(f"--split {games.split}: synthetic tasks are for training: leave it out.")
    if misread_rate and (synthetic or student or games.goals.kind == TEMPLATE):
        raise click.UsageError("--misread-rate: only people's words are misread: give --goals human, and no --student.")
    if synthetic and games.goals.kind != TEMPLATE:
        raise click.UsageError(f"--goals {games.kind}: synthetic tasks have words of their own: leave it out.")
    if relabel and (synthetic or student or noise_rate or misread_rate or no_priors or ray):
        raise click.UsageError(
            "--relabel: nothing is played: leave out --student, --synthetic, --no-priors, --ray and the rates."
        )
    if relabel:
        counts = tell_again(relabel, games.files(), games.goals, out)
        print(f"{out}: {counts['games']} episodes, {counts['won']} won")
        return
    if pack:
        read_pack(pack)
    chosen, processes = games.files(), cores_unless(jobs, ray)
    if no_priors:
        priors = {}
    else:
        train_games = find_games(resolve_root(games.root), TRAIN_SPLIT)
        priors = learn_priors(train_games, out.with_name("priors.json"), processes)
    if synthetic:
        counts = teach_synthetic(chosen, synthetic, priors, out, processes, max_steps, noise_rate, seed)
    else:
        played = EvalConfig(student, pack, "free", PlayConfig(max_steps=max_steps)) if student else None
        counts = play_expert(
            chosen,
            games.split,
            priors,
            out,
            processes,
            max_steps,
            noise_rate,
            seed,
            played,
            games.goals,
            misread_rate,
        )
    _print_counts(out, counts, f"{games.split} games" if not synthetic else "episodes of synthetic tasks")


def _print_counts(out: Path, counts: dict[str, int], what: str) -> None:
    print(
        f"{out}: {counts['games']} {what}, {counts['won']} won "
        f"({counts['won'] / counts['games']:.1%}), {counts['steps'] / counts['games']:.1f} steps a game"
    )


def _teach_llm(games: GameChoice, teacher: TeacherChoice, max_steps: int, seed: int, out: Path) -> None:
    from duomem.train.teachers.llm.teach import teach_llm

    teaching, budget = teacher.teaching(max_steps, seed), teacher.budget()
    chosen, (model, identity) = games.files(), teacher.chat_model()
    counts = teach_llm(chosen, games.split, model, out, teaching, games.goals, budget, identity)
    print(
        f"{out}: {counts['games']} {games.split} games, {counts['won']} won ({counts['won'] / counts['games']:.1%}), "
        f"{counts['episodes']} of {counts['tries']} tries kept: see `duomem trajectories report {out}`"
    )
