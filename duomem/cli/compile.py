"""`duomem compile`: a Hugging Face model folder becomes a bundle a device can run.

Weights are quantized, the decoder is compiled, and both must pass the parity gate.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.options import PACK, ModelChoice, model_options
from duomem.cli.values import SHARE, InputFolder
from duomem.configs import target_files
from duomem.core.trajectory import TRAIN_SPLIT
from duomem.device.engine.schemes import ACTIVATIONS

if TYPE_CHECKING:
    from duomem.compile.gate.success import HeldOutGames


@click.command("compile", short_help="Compile a model folder into a bundle.")
@model_options
@click.option(
    "--target",
    type=click.Choice(tuple(target_files())),
    default="host",
    help="What to compile for; host is this machine.",
)
@click.option(
    "--min-agreement",
    type=SHARE,
    metavar="SHARE",
    show_default="0.9 for 4 bits, more for more",
    help="Write the bundle only if its choices agree with float32's on this share of the recorded steps that have a "
    "clear one, from 0 to 1.",
)
@click.option(
    "--activations",
    type=click.Choice(ACTIVATIONS),
    show_default="int8, or exact if that fails the gate",
    help="How CPU kernels take their inputs: rounded to 8 bits, which is two to four times as fast, or exactly.",
)
@click.option(
    "--held-out-games",
    "games",
    type=InputFolder("folder of games"),
    metavar="DIR",
    help="Folder of ALFWorld's games. Some train games that the student's training held out are played, and "
    "bundle.json says how many were won.",
)
@click.option(
    "--held-out-pack",
    "pack",
    type=PACK,
    metavar="FILE",
    show_default="no memories",
    help="Memory pack for these games; what it has from their floor plans is left out.",
)
def compile_command(
    model: ModelChoice,
    target: str,
    min_agreement: float | None,
    activations: str | None,
    games: Path | None,
    pack: Path | None,
) -> None:
    """Compile the Hugging Face model in MODEL_DIR into a bundle.

    The weights are quantized and the decoder is compiled. The bundle is written only if it computes what the model
    computes. A bundle of the same inputs is left as it is.
    """
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    if pack is not None and games is None:
        raise click.UsageError("--held-out-pack: the memories for which games? Give --held-out-games DIR too.")
    bundle, new = compile_bundle(
        model.folder,
        load_target(target),
        model.scheme,
        model.out,
        model.context,
        model.calibration(),
        min_agreement,
        activations,
        None if games is None else _held_out(model.folder, games, pack),
    )
    if not new:
        print(f"{model.out}: up to date, nothing to do")
        return
    gate, drift, actions = (bundle.manifest["gate"], *(bundle.manifest["gate"][n] for n in ("drift", "actions")))
    size = sum(entry["size"] for entry in bundle.manifest["files"].values())
    print(
        f"{model.out}: {bundle.quantization} for {bundle.manifest['target']['name']}, {size / 1e6:.1f} MB, "
        f"context {bundle.context_length}\n"
        f"parity with transformers: max |diff| {gate['max_abs_diff']:.1e} (bound {gate['bound']:g})\n"
        f"{_rounding(gate)}"
        f"drift from float32: mean KL {drift['mean_kl']:.2e}, same best token {drift['top1_agreement']:.1%}\n"
        f"{_actions(actions)}"
    )
    if success := gate.get("success"):
        won = ", ".join(f"{wins} {protocol}" for protocol, wins in success["won"].items())
        print(f"won of {success['games']} train games that training held out: {won}")
    if gate.get("unchecked"):
        print(f"not run on this machine: {', '.join(gate['unchecked'])}")
    if proxies := {**gate["proxy_libraries"], **gate["proxy_mean_kl"]}:
        print(f"checked here through libraries of the same weights: {', '.join(proxies)}")
    for entry in bundle.manifest["target"]["libraries"]:
        if "inspected" in entry:
            print(f"{entry['file']}: compiled and inspected ({entry['inspected']}), not executed")


def _held_out(student: Path, root: Path, pack: Path | None) -> HeldOutGames:
    """The games to play it on."""
    from duomem.compile.gate.success import MOST_GAMES, HeldOutGames
    from duomem.device.alfworld.game_files import find_games, resolve_root
    from duomem.train.holdout import games_held_out

    found = games_held_out(student, find_games(resolve_root(root), TRAIN_SPLIT), MOST_GAMES)
    return HeldOutGames(tuple(found), pack)


def _rounding(gate: dict[str, Any]) -> str:
    """A line on the libraries with 8-bit inputs, if any ran here."""
    measured = [*gate["int8"]["mean_kl"].values(), *gate["proxy_mean_kl"].values()]
    if not measured:
        return ""
    return f"inputs rounded to 8 bits: mean KL {max(measured):.1e} nats (bound {gate['int8']['bound']:g})\n"


def _actions(actions: dict[str, Any]) -> str:
    if not actions["steps"]:
        return "choices of actions: not compared, no recorded step fits this --context"
    line = f"choices of actions: {actions['agreement']:.1%} of {actions['steps']} recorded steps as float32"
    if actions["clear_steps"]:
        line += (
            f", {actions['clear_agreement']:.1%} of the {actions['clear_steps']} with a clear choice "
            f"(bound {actions['bound']:.0%})"
        )
    return f"{line}, free {actions['free_agreement']:.1%}"
