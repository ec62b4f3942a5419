"""`duomem export`: a model for other engines, as a folder for mlc-llm or a GGUF file for llama.cpp."""

from __future__ import annotations

from pathlib import Path

import click

from duomem.cli.options import CommandGroup, ModelChoice, model_options
from duomem.cli.values import BundleFolder, OutputFile

MLC_DEVICES = ("cpu", "cuda", "vulkan", "opencl", "metal", "webgpu", "android", "iphone")
"""Those of compile.export.mlc, which is too heavy to load for a command line."""
GGUF_TYPES = ("F32", "F16", "Q4_0", "Q4_1", "Q8_0")


@click.group(cls=CommandGroup)
def export() -> None:
    """Write a model for another engine: mlc-llm or llama.cpp."""


@export.command("mlc", short_help="Write a model folder for mlc-llm.")
@model_options
@click.option(
    "--device",
    type=click.Choice(MLC_DEVICES),
    show_default="no library",
    help="Let an installed mlc_llm compile the model library for this device too.",
)
def mlc_command(model: ModelChoice, device: str | None) -> None:
    """Write the Hugging Face model in MODEL_DIR for mlc-llm's command line and its Android and iOS apps.

    duomem's parity gate does not check mlc-llm's libraries.
    """
    from duomem.compile.export.mlc import compile_mlc, library_name

    if not compile_mlc(model.folder, model.scheme, model.out, model.context, model.calibration(), device):
        print(f"{model.out}: up to date, nothing to do")
        return
    size = sum(file.stat().st_size for file in model.out.rglob("*") if file.is_file())
    print(
        f"{model.out}: {model.scheme} for mlc-llm, {size / 1e6:.1f} MB"
        + (f", library {library_name(device)}" if device is not None else "")
        + "\nnot checked by the parity gate, which runs duomem's own libraries; "
        f"how to go on: {model.out / 'README.md'}"
    )


@export.command("gguf")
@click.argument("bundle", type=BundleFolder())
@click.option("--out", type=OutputFile(), required=True, metavar="FILE", help="GGUF file to write.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(GGUF_TYPES),
    show_default="the first that holds the bundle's weights",
    help="GGUF type of the weights.",
)
def gguf_command(bundle: Path, out: Path, kind: str | None) -> None:
    """Write the weights in BUNDLE to a GGUF file.

    They are written value for value. The file has no vocabulary: llama.cpp can run token ids with it.
    """
    from duomem.compile.export.gguf import export_gguf
    from duomem.device.engine.bundle import read_bundle
    from duomem.device.engine.schemes import SCHEMES

    verified = read_bundle(bundle)
    possible = SCHEMES[verified.quantization].gguf
    chosen = kind or possible[0]
    if chosen not in possible:
        raise click.UsageError(
            f"--type {chosen}: weights in {verified.quantization} can become {' or '.join(possible)}."
        )
    fidelity = export_gguf(verified, chosen, out)
    print(
        f"{out}: {chosen}, {out.stat().st_size / 1e6:.1f} MB; {fidelity.inexact} of {fidelity.groups} groups of "
        "weights are rounded"
    )
