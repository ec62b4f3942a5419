"""`duomem compile`: a Hugging Face model folder becomes a bundle a device can run.

Weights are quantized, the decoder is compiled, and both must pass the parity gate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duomem.compile.weights.gptq import Calibration

_EPISODES = 48
_SEED = 0
_MAX_TOKENS = 1024
_MEMORY_PROB = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the `duomem` command."""
    from duomem.device.engine.manifest import SCHEMES

    parser = subparsers.add_parser(
        "compile", help="compile a model folder into a bundle", description=__doc__.strip().splitlines()[0]
    )
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="Hugging Face folder with safetensors")
    parser.add_argument("--target", default="host", help="what to compile for: a name in configs/targets (%(default)s)")
    parser.add_argument(
        "--format",
        choices=("bundle", "mlc"),
        default="bundle",
        help="bundle: what duomem plays; mlc: a folder for mlc-llm's command line and apps (%(default)s)",
    )
    parser.add_argument(
        "--compiler",
        choices=("tvm", "mlc"),
        default="tvm",
        help="mlc: an mlc folder whose library an installed mlc_llm compiles, for its own --target names (%(default)s)",
    )
    parser.add_argument("--quant", default="q4f32_1", help=f"weight storage: {', '.join(SCHEMES)} (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--context", type=int, metavar="TOKENS", help="KV budget in tokens (the model's own, at most 4096)"
    )
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="FILE",
        help="train trajectories to round the 4-bit weights on (GPTQ): a closer student, minutes more",
    )
    parser.add_argument(
        "--calibrate-pack", type=Path, metavar="PACK", help="memories that half of those episodes are shown"
    )
    parser.add_argument(
        "--min-agreement",
        type=_share,
        metavar="SHARE",
        help="write the bundle if its choices agree with float32's on this share of the recorded steps that have a "
        "clear one, 0 to 1 (by --quant: 0.9 for 4 bits, more for more)",
    )
    parser.set_defaults(func=run)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


def run(args: argparse.Namespace) -> None:
    """Compile, or say that there is nothing to do. Raises UserError."""
    if args.format == "mlc" or args.compiler == "mlc":
        _run_mlc(args)
    else:
        _run_bundle(args)


def _run_bundle(args: argparse.Namespace) -> None:
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.library.target import load_target

    target = load_target(args.target)
    calibration = _calibration(args.calibrate, args.calibrate_pack, args.model_dir)
    bundle, new = compile_bundle(
        args.model_dir, target, args.quant, args.out, args.context, calibration, args.min_agreement
    )
    if not new:
        print(f"{args.out}: up to date, nothing to do")
        return
    gate, drift, actions = (bundle.manifest["gate"], *(bundle.manifest["gate"][n] for n in ("drift", "actions")))
    size = sum(entry["size"] for entry in bundle.manifest["files"].values())
    print(
        f"{args.out}: {bundle.quantization} for {bundle.manifest['target']['name']}, {size / 1e6:.1f} MB, "
        f"context {bundle.context_length}\n"
        f"parity with transformers: max |diff| {gate['max_abs_diff']:.1e} (bound {gate['bound']:g})\n"
        f"drift from float32: mean KL {drift['mean_kl']:.2e}, same best token {drift['top1_agreement']:.1%}\n"
        f"{_actions(actions)}"
    )
    if gate.get("unchecked"):
        print(f"not run on this machine: {', '.join(gate['unchecked'])}")
    if gate.get("proxy_libraries"):
        print(f"checked here through libraries of the same weights: {', '.join(gate['proxy_libraries'])}")
    for entry in bundle.manifest["target"]["libraries"]:
        if "inspected" in entry:
            print(f"{entry['file']}: compiled and inspected ({entry['inspected']}), not executed")


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


def _run_mlc(args: argparse.Namespace) -> None:
    from duomem.compile.export.mlc import compile_mlc, library_name
    from duomem.core.errors import UserError

    device = None
    if args.compiler == "mlc":
        device = "cpu" if args.target == "host" else args.target
    elif args.target != "host":
        raise UserError(f"--target {args.target}: --format mlc compiles nothing: leave it out, or add --compiler mlc")
    if args.min_agreement is not None:
        raise UserError("--min-agreement: mlc-llm's libraries are not checked by duomem: leave it out")
    calibration = _calibration(args.calibrate, args.calibrate_pack, args.model_dir)
    if not compile_mlc(args.model_dir, args.quant, args.out, args.context, calibration, device):
        print(f"{args.out}: up to date, nothing to do")
        return
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    print(
        f"{args.out}: {args.quant} for mlc-llm, {size / 1e6:.1f} MB"
        + (f", library {library_name(device)}" if device is not None else "")
        + "\nnot checked by the parity gate, which runs duomem's own libraries; "
        f"how to go on: {args.out / 'README.md'}"
    )


def _calibration(trajectories: Path | None, pack_file: Path | None, model_dir: Path) -> Calibration | None:
    """A fixed sample of won train episodes as training shows them, half of them with another game's memory; nothing
    that the student was never trained on.
    """
    import random

    from duomem.compile.weights.gptq import Calibration
    from duomem.core.errors import UserError
    from duomem.core.files import sha256_input
    from duomem.core.trajectory import read_train_trajectories
    from duomem.device.agent.prompt import PromptTokenizer
    from duomem.memory_packs.pack import read_pack
    from duomem.train.dataset import EpisodeDataset
    from duomem.train.holdout import read_hold_out
    from duomem.train.memory_sampler import MemorySampler

    if trajectories is None:
        if pack_file is not None:
            raise UserError("--calibrate-pack: the memories of which episodes? give --calibrate FILE too")
        return None
    held = read_hold_out(model_dir)
    won = [t for t in held.rest(read_train_trajectories(trajectories)) if t.won]
    pack = read_pack(pack_file) if pack_file is not None else None
    sample = random.Random(_SEED).sample(won, min(_EPISODES, len(won)))
    draw = MemorySampler(held.rest(pack.memories) if pack else (), memory_prob=_MEMORY_PROB, distractor_prob=0.0)
    dataset = EpisodeDataset(sample, draw, PromptTokenizer(model_dir), _SEED, _MAX_TOKENS)
    episodes = tuple(example.tokens for example in dataset.epoch(0))
    if not episodes:
        raise UserError(f"{trajectories}: no won episode of at most {_MAX_TOKENS} tokens to calibrate on: give another")
    return Calibration(
        episodes,
        {
            "method": "gptq",
            "trajectories": sha256_input(trajectories, "trajectory file"),
            "pack": pack.digest if pack else None,
            "episodes": len(episodes),
            "tokens": sum(map(len, episodes)),
            "seed": _SEED,
        },
    )
