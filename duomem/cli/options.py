"""Options that several commands share, as decorators.

Those that belong together reach the command as one value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from duomem.cli.values import (
    CONTEXT,
    COUNT,
    SHA256,
    BundleFolder,
    InputFile,
    ModelFolder,
    OutputFolder,
    PackFile,
    RayAddress,
)
from duomem.core.ray_pool import FORMS, RayPool
from duomem.device.engine.schemes import DEFAULT_SCHEME, SCHEMES
from duomem.memory_packs.retriever import MAX_MEMORIES

if TYPE_CHECKING:
    from duomem.compile.weights.gptq import Calibration
    from duomem.core.parallel import Jobs
    from duomem.device.agent.evaluate import EvalConfig, PlayConfig

Command = TypeVar("Command", bound=Callable[..., Any])

PACK = PackFile()
TRAJECTORIES = InputFile("trajectory file")


class CommandGroup(click.Group):
    """Lists its commands in the order of the work, and takes none given as a wrong command line."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, no_args_is_help=False, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def cores_unless(jobs: int | None, ray: str | None = None) -> Jobs:
    """`jobs`, or as many as this process may use cores. With the address of a Ray cluster, a pool of so many processes
    there, or one for each of its CPUs, that is closed when the command ends. Raises UserError if none answers.
    """
    from duomem.core.cpu import usable_cores

    if ray is not None:
        return click.get_current_context().with_resource(RayPool(ray, jobs))
    return jobs or usable_cores()


jobs_option = click.option("--jobs", type=COUNT, metavar="N", show_default="one per core", help="Number of processes.")
ray_option = click.option(
    "--ray",
    type=RayAddress(),
    metavar="ADDRESS",
    show_default="this machine's processes",
    help=f"Run the processes on a Ray cluster: {FORMS}.",
)


own_world_option = click.option(
    "--world",
    metavar="MODULE:NAME",
    show_default="the one of duomem's that they name",
    help="World of your own that the trajectories were played in.",
)


def expect_option(of: str, name: str = "--expect") -> Callable[[Any], Any]:
    """--expect, or `name`: the SHA-256 of the file that `of` says, to be checked before anything else."""
    return click.option(
        name, type=SHA256, metavar="SHA256", show_default="any", help=f"Stop unless this is the SHA-256 of {of}."
    )


expect_bundle_option = expect_option("BUNDLE's bundle.json, which has those of all its other files")


def check_bundle_digest(bundle: Path, expected: str | None) -> None:
    """Raises FileError if a digest is expected and bundle.json has another."""
    from duomem.core.files import check_sha256
    from duomem.device.engine.manifest import MANIFEST

    if expected is not None:
        check_sha256(bundle / MANIFEST, expected, "bundle manifest")


_PLAY = (
    click.option("--k", type=COUNT, default=MAX_MEMORIES, metavar="N", help="Most memories shown in an episode."),
    click.option(
        "--context",
        type=CONTEXT,
        metavar="TOKENS",
        show_default="the bundle's",
        help="Most tokens of an episode, at least 64. Fewer tokens need less memory.",
    ),
    click.option(
        "--device",
        type=click.Choice(("auto", "cpu", "vulkan", "cuda", "metal")),
        default="auto",
        help="What the student runs on. auto: the first one that is here and computes correctly.",
    ),
    click.option("--max-steps", type=COUNT, default=50, metavar="N", help="Most steps of an episode."),
    click.option(
        "--no-action-filter",
        is_flag=True,
        help="Let the student repeat commands that changed nothing, and name things it has not seen.",
    ),
    click.option(
        "--no-reminder", is_flag=True, help="Do not tell the student which places it has not looked into yet."
    ),
    click.option(
        "--no-second-look",
        is_flag=True,
        help="Do not show memories of other goals after 20 steps without success.",
    ),
)


def _play_config(
    k: int,
    context: int | None,
    device: str,
    max_steps: int,
    no_action_filter: bool,
    no_reminder: bool,
    no_second_look: bool,
) -> PlayConfig:
    from duomem.device.agent.evaluate import PlayConfig

    return PlayConfig(k, max_steps, context, device, not no_action_filter, not no_reminder, not no_second_look)


def play_options(command: Command) -> Command:
    """--k, --context, --device, --max-steps, --no-action-filter, --no-reminder and --no-second-look: one
    PlayConfig, `play`."""
    return one_value("play", _PLAY, _play_config)(command)


protocol_option = click.option(
    "--protocol",
    type=click.Choice(("constrained", "free")),
    default="constrained",
    help="constrained: the most likely of the admissible commands. free: the student writes the command.",
)


def student_options(command: Command) -> Command:
    """BUNDLE, --pack, what digests they must have, --protocol and those of play_options: one EvalConfig, `student`."""

    def config(
        bundle: Path, pack: Path | None, expect: str | None, expect_pack: str | None, protocol: str, **play: Any
    ) -> EvalConfig:
        from duomem.core.files import check_sha256
        from duomem.device.agent.evaluate import EvalConfig

        check_bundle_digest(bundle, expect)
        if expect_pack is not None:
            if pack is None:
                raise click.UsageError("--expect-pack: of which memory pack? Give --pack FILE too.")
            check_sha256(pack, expect_pack, "memory pack")
        check_context(bundle, play["context"])
        return EvalConfig(bundle, pack, protocol, _play_config(**play))

    options = [
        click.argument("bundle", type=BundleFolder()),
        click.option("--pack", type=PACK, metavar="FILE", show_default="no memories", help="Memory pack to play with."),
        expect_bundle_option,
        expect_option("the memory pack", "--expect-pack"),
        protocol_option,
        *_PLAY,
    ]
    return one_value("student", options, config)(command)


def check_context(bundle: Path, tokens: int | None) -> None:
    """Raises BundleError if --context is more than `bundle` was compiled for."""
    from duomem.core.errors import BundleError
    from duomem.core.files import read_json
    from duomem.device.engine.bundle import Bundle
    from duomem.device.engine.manifest import MANIFEST, check_manifest

    if tokens is None:
        return
    manifest = check_manifest(read_json(bundle / MANIFEST, "bundle manifest"), bundle / MANIFEST)
    longest = Bundle(bundle, manifest).context_length
    if tokens > longest:
        raise BundleError(
            f"--context {tokens}: {bundle} was compiled for at most {longest} tokens: give 64 to {longest}"
        )


@dataclass(frozen=True)
class ModelChoice:
    """A model folder, and how its weights are stored for a device."""

    folder: Path
    scheme: str
    out: Path
    context: int | None
    calibrate: Path | None
    calibrate_pack: Path | None
    world: str | None

    def calibration(self) -> Calibration | None:
        """The episodes to calibrate on, None without --calibrate. Raises UserError; first for a wrong model."""
        from duomem.compile.bundle import check_inputs
        from duomem.compile.weights.gptq import Calibration
        from duomem.train.calibration import sample_episodes

        check_inputs(self.folder, self.scheme, self.context, None)
        if self.calibrate is None:
            return None
        return Calibration(*sample_episodes(self.calibrate, self.calibrate_pack, self.folder, self.world))


def model_options(command: Command) -> Command:
    """MODEL_DIR, --quant, --out, --context, --calibrate, --calibrate-pack and --world: one ModelChoice, `model`."""

    def choice(
        model_dir: Path,
        quant: str,
        out: Path,
        context: int | None,
        calibrate: Path | None,
        calibrate_pack: Path | None,
        world: str | None,
    ) -> ModelChoice:
        if calibrate_pack is not None and calibrate is None:
            raise click.UsageError("--calibrate-pack: the memories of which episodes? Give --calibrate FILE too.")
        return ModelChoice(model_dir, quant, out, context, calibrate, calibrate_pack, world)

    options = [
        click.argument("model_dir", type=ModelFolder()),
        click.option(
            "--quant", type=click.Choice(tuple(SCHEMES)), default=DEFAULT_SCHEME, help="How the weights are stored."
        ),
        click.option("--out", type=OutputFolder(), required=True, metavar="DIR", help="Folder to write."),
        click.option(
            "--context",
            type=CONTEXT,
            metavar="TOKENS",
            show_default="the model's, at most 4096",
            help="Length of the context, from 64 to the model's own.",
        ),
        click.option(
            "--calibrate",
            type=TRAJECTORIES,
            metavar="FILE",
            show_default="plain rounding",
            help="Train trajectories to round the weights on (GPTQ). The student loses less; it takes minutes more.",
        ),
        click.option(
            "--calibrate-pack",
            type=PACK,
            metavar="FILE",
            show_default="no memories",
            help="Memory pack that half of these episodes are shown a memory of.",
        ),
        own_world_option,
    ]
    return one_value("model", options, choice)(command)


def one_value(
    name: str, options: Sequence[Callable[[Any], Any]], make: Callable[..., Any]
) -> Callable[[Command], Command]:
    """A decorator that adds `options` and hands the command `make` of their values as its argument `name`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_value(*args: Any, **values: Any) -> Any:
            given = {parameter.name: values.pop(parameter.name) for parameter in parameters}
            return command(*args, **values, **{name: make(**given)})

        before = len(getattr(command, "__click_params__", ()))
        decorated: Any = with_value
        for option in reversed(options):
            decorated = option(decorated)
        parameters = decorated.__click_params__[before:]
        return decorated

    return decorate
