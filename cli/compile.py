"""`duomem compile`: a Hugging Face model folder becomes a bundle a device can run.

Weights are quantised, the decoder is compiled, and both must pass the parity gate.
"""

from __future__ import annotations

import argparse
from pathlib import Path


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
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Compile, or say that there is nothing to do. Raises UserError."""
    from duomem.compile.bundle import compile_bundle
    from duomem.compile.target import load_target

    bundle, new = compile_bundle(args.model_dir, load_target(args.target), args.quant, args.out, args.context)
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
