"""`duomem compile`: a Hugging Face model folder becomes a bundle a device can run.

Weights are quantised, the decoder is compiled, and both must pass the parity gate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duomem.compile.gptq import Calibration

_EPISODES = 48
_SEED = 0
_MAX_TOKENS = 1024
_MEMORY_SHARE = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the `duomem` command."""
    parser = subparsers.add_parser(
        "compile", help="compile a model folder into a bundle", description=__doc__.strip().splitlines()[0]
    )
    parser.add_argument(
        "model_dir", type=Path, metavar="MODEL_DIR", help="Hugging Face folder with safetensors"
    )
    parser.add_argument(
        "--target", default="host", help="what to compile for: a name in configs/targets (%(default)s)"
    )
    parser.add_argument("--quant", default="q4f32_1", help="weight storage: q4f32_1 or q0f32 (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    parser.add_argument(
        "--context", type=int, metavar="TOKENS", help="KV budget in tokens (the model's own, at most 4096)"
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="FILE",
        help="train trajectories to round the 4-bit weights on (GPTQ): a closer student, minutes more"
    )
    parser.add_argument(
        "--calibrate-pack", type=Path, metavar="PACK", help="memories that half of those episodes are shown"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Compile, or say that there is nothing to do. Raises UserError."""
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.target import load_target

    target = load_target(args.target)
    calibration = _calibration(args.calibrate, args.calibrate_pack, args.model_dir)
    bundle, new = compile_bundle(args.model_dir, target, args.quant, args.out, args.context, calibration)
    if not new:
        print(f"{args.out}: up to date, nothing to do")
        return
    gate, drift = bundle.manifest["gate"], bundle.manifest["gate"]["drift"]
    size = sum(entry["size"] for entry in bundle.manifest["files"].values())
    print(
        f"{args.out}: {bundle.quantisation} for {bundle.manifest['target']['name']}, {size / 1e6:.1f} MB, "
        f"context {bundle.context_length}\n"
        f"parity with transformers: max |diff| {gate['max_abs_diff']:.1e} (bound {gate['bound']:g})\n"
        f"drift from float32: mean KL {drift['mean_kl']:.2e}, same best token {drift['top1_agreement']:.1%}"
    )


def _calibration(trajectories: Path | None, pack_file: Path | None, model_dir: Path) -> Calibration | None:
    """A fixed sample of won train episodes as training shows them, half of them with another game's memory."""
    import random

    from duomem.base.errors import UserError
    from duomem.base.files import sha256_input
    from duomem.base.trajectory import read_train_trajectories
    from duomem.compile.gptq import Calibration
    from duomem.device.prompt import PromptTokenizer
    from duomem.memory_packs.pack import read_pack
    from duomem.train.dataset import EpisodeDataset

    if trajectories is None:
        if pack_file is not None:
            raise UserError("--calibrate-pack: the memories of which episodes? give --calibrate FILE too")
        return None
    won = [trajectory for trajectory in read_train_trajectories(trajectories) if trajectory.won]
    pack = read_pack(pack_file) if pack_file is not None else None
    sample = random.Random(_SEED).sample(won, min(_EPISODES, len(won)))
    dataset = EpisodeDataset(sample, pack.memories if pack else (), PromptTokenizer(model_dir), _MEMORY_SHARE,
                             _SEED, _MAX_TOKENS)
    episodes = tuple(example.tokens for example in dataset.epoch(0))
    if not episodes:
        raise UserError(f"{trajectories}: no won episode of at most {_MAX_TOKENS} tokens to calibrate on: give another")
    return Calibration(episodes, {
        "method": "gptq",
        "trajectories": sha256_input(trajectories, "trajectory file"),
        "pack": pack.digest if pack else None,
        "episodes": len(episodes),
        "tokens": sum(map(len, episodes)),
        "seed": _SEED,
    })
