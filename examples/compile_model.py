"""Compile a Hugging Face model into a bundle that a device can run, and say what was checked.

python examples/compile_model.py runs/merged runs/bundle --target host --scheme q4f32_1
"""

from __future__ import annotations

import argparse
from pathlib import Path

from duomem import Bundle, compile_bundle


def main(model_dir: Path, out: Path, target: str, scheme: str, context: int | None) -> None:
    """Compile, read the bundle back as a device does, and print its parity with the reference model."""
    _, is_new = compile_bundle(model_dir, target, scheme, out, context_length=context)
    bundle = Bundle.load(out)
    print(f"{out}: {'compiled' if is_new else 'up to date'}, {bundle.quantization}, {bundle.context_length} tokens")
    for library in bundle.libraries:
        print(f"library {library.file} for {library.device}")
    gate = bundle.manifest["gate"]
    print(f"largest difference of a logit from the reference: {gate['max_abs_diff']:.1e} (bound {gate['bound']:g})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compile a model folder into a bundle.")
    parser.add_argument("model_dir", type=Path, help="Hugging Face folder with safetensors")
    parser.add_argument("out", type=Path, help="bundle folder to write")
    parser.add_argument("--target", default="host", help="what to compile for")
    parser.add_argument("--scheme", default="q4f32_1", help="how weights are stored")
    parser.add_argument("--context", type=int, help="most tokens of an episode")
    args = parser.parse_args()
    main(args.model_dir, args.out, args.target, args.scheme, args.context)
