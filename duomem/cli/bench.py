"""`duomem bench`: how fast a bundle is here, how close to this machine's peaks, and against other runtimes.

A table for people, then one JSON line for programs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.values import COUNT, BundleFolder, InputFile, ModelFolder, Numbers, OutputFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duomem.device.bench.bench import Baseline
    from duomem.device.engine.bundle import Bundle

LLAMA_CPP = "llama.cpp"
ONNXRUNTIME_GENAI = "onnxruntime-genai"
OPENVINO = "openvino"


class Engines(click.ParamType):
    """A comma list of other runtimes."""

    name = "ENGINE[,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        known = (LLAMA_CPP, ONNXRUNTIME_GENAI, OPENVINO)
        names = tuple(dict.fromkeys(value.split(","))) if isinstance(value, str) else value
        for name in names:
            if name not in known:
                self.fail(f"{name!r} is none of {', '.join(known)}", param, ctx)
        return names


@click.command(short_help="Measure a bundle's speed on this machine.")
@click.argument("bundle", type=BundleFolder())
@click.option(
    "--prompt",
    "prompts",
    type=Numbers(1),
    default=(512,),
    show_default="512",
    metavar="TOKENS[,...]",
    help="Lengths of the prompt tests, pp, for example 16,32,64,512.",
)
@click.option("--gen", type=COUNT, default=128, metavar="TOKENS", help="Length of the generation test, tg.")
@click.option("--repetitions", type=COUNT, default=5, metavar="N", help="Number of runs of a test, after a warm-up.")
@click.option(
    "--threads", type=Numbers(1), metavar="N[,N...]", show_default="all cores", help="One set of tests for each."
)
@click.option(
    "--context",
    type=Numbers(0, ascending=True),
    metavar="TOKENS[,...]",
    show_default="not measured",
    help="Time decoding after so many tokens too, for example 0,512,1024,2048,4096.",
)
@click.option(
    "--library",
    metavar="FILE",
    show_default="the best this CPU can run",
    help="Time this library of the bundle, for example lib/cpu-x86_64-avx2.so.",
)
@click.option(
    "--vs",
    type=Engines(),
    default=(),
    show_default="none",
    metavar="ENGINE[,...]",
    help="Time these engines too, in interleaved runs: llama.cpp, onnxruntime-genai, openvino.",
)
@click.option(
    "--vs-quant",
    metavar="TYPE[,TYPE...]",
    show_default="all that hold the bundle's weights",
    help="GGUF types for llama.cpp.",
)
@click.option(
    "--model",
    type=ModelFolder(),
    metavar="FOLDER",
    help="The folder the bundle was compiled from: onnxruntime-genai makes its model of it.",
)
@click.option(
    "--estimate",
    "devices",
    metavar="DEVICE[,DEVICE...]",
    show_default="measure here",
    help="Measure nothing: print what public figures of these devices, or of all, allow at most.",
)
@click.option(
    "--measured",
    type=InputFile("bench result"),
    metavar="FILE",
    show_default="the documented shares",
    help="For --estimate: the --json of an earlier bench, whose shares of the peaks are taken as likely.",
)
@click.option("--json", "file", type=OutputFile(), metavar="FILE", help="Write the JSON object here too.")
def bench(
    bundle: Path,
    prompts: tuple[int, ...],
    gen: int,
    repetitions: int,
    threads: tuple[int, ...] | None,
    context: tuple[int, ...] | None,
    library: str | None,
    vs: tuple[str, ...],
    vs_quant: str | None,
    devices: str | None,
    measured: Path | None,
    model: Path | None,
    file: Path | None,
) -> None:
    """Measure the speed of BUNDLE on this machine.

    Prints llama-bench's pp and tg, the time to the first token, the memory, and the share of this machine's own peaks;
    then all of it as one JSON line.
    """
    import tempfile

    from duomem.core.cpu import usable_cores
    from duomem.core.files import write_json
    from duomem.device.bench.bench import Settings, run_bench
    from duomem.device.bench.report import report
    from duomem.device.engine.bundle import read_bundle

    if measured and not devices:
        raise click.UsageError("--measured: for what? Give --estimate DEVICE too.")
    if devices:
        return _estimate(bundle, devices.split(","), max(prompts), gen, measured, file)
    if vs_quant and LLAMA_CPP not in vs:
        raise click.UsageError("--vs-quant: for which engine? Give --vs llama.cpp too.")
    if model and ONNXRUNTIME_GENAI not in vs:
        raise click.UsageError("--model: for which engine? Give --vs onnxruntime-genai too.")
    if ONNXRUNTIME_GENAI in vs and not model:
        raise click.UsageError("--vs onnxruntime-genai: of which model? Give --model, the folder compiled from.")
    _check_installed(vs)
    settings = Settings(prompts, gen, repetitions, threads or (usable_cores(),), context or (), library)
    read = read_bundle(bundle)
    with tempfile.TemporaryDirectory(prefix="duomem-bench-") as folder:
        baselines: list[Baseline] = []
        if LLAMA_CPP in vs:
            baselines += _llama_cpp(read, vs_quant, Path(folder))
        if model:
            baselines.append(_onnxruntime_genai(model, Path(folder)))
        if OPENVINO in vs:
            baselines.append(_openvino(read, Path(folder)))
        result = run_bench(read, settings, baselines)
    print(report(result))
    if file:
        write_json(file, result)
    print(json.dumps(result, separators=(",", ":")))


def _estimate(folder: Path, names: list[str], prompt: int, gen: int, measured: Path | None, file: Path | None) -> None:
    """Print what the bundle's cost and devices' public figures give."""
    from duomem.core.files import write_json
    from duomem.device.bench import estimate as rooflines
    from duomem.device.engine.bundle import read_bundle
    from duomem.device.engine.cost import DecoderCost

    devices = rooflines.choose_devices(names, rooflines.read_devices())
    shares = rooflines.measured_shares(measured) if measured else rooflines.DOCUMENTED
    bundle = read_bundle(folder)
    cost = DecoderCost.from_json(bundle.manifest.get("cost"), f"{folder}/bundle.json")
    estimates = rooflines.estimate(cost, devices, prompt, gen, bundle.prefill_chunk, shares)
    result = rooflines.estimate_json(estimates, devices, prompt, gen, shares)
    print(rooflines.estimate_lines(estimates, devices, prompt, gen, shares))
    if file:
        write_json(file, result)
    print(json.dumps(result, separators=(",", ":")))


def _check_installed(vs: Sequence[str]) -> None:
    """Raises CompileError with a line for each engine whose packages are missing."""
    from importlib.util import find_spec

    from duomem.compile.export import llama_cpp, onnxruntime_genai, openvino
    from duomem.core.errors import CompileError

    packages = {
        LLAMA_CPP: (("llama_cpp",), llama_cpp.HOW_TO_GET_IT),
        ONNXRUNTIME_GENAI: (("onnxruntime_genai", "onnx", "onnx_ir"), onnxruntime_genai.HOW_TO_GET_IT),
        OPENVINO: (("openvino", "openvino_genai", "gguf"), openvino.HOW_TO_GET_IT),
    }
    missing = [name for name in vs if any(find_spec(package) is None for package in packages[name][0])]
    if missing:
        raise CompileError("\n".join(f"--vs {name}: {packages[name][1]}" for name in missing))


def _onnxruntime_genai(model: Path, folder: Path) -> Baseline:
    """An onnxruntime-genai on a 4-bit model of its own, written to `folder`."""
    from duomem.compile.export.onnxruntime_genai import WEIGHTS, build_onnx
    from duomem.device.bench.bench import Baseline

    onnx = folder / "onnx"
    build_onnx(model, onnx)
    module = "duomem.compile.export.onnxruntime_genai"
    return Baseline(ONNXRUNTIME_GENAI, module, {"folder": str(onnx)}, {"weights": WEIGHTS}, same_weights=False)


def _openvino(bundle: Bundle, folder: Path) -> Baseline:
    """An OpenVINO on the bundle's weights, written to `folder` as GGUF and read from there."""
    from dataclasses import asdict

    from duomem.compile.export.gguf import export_gguf
    from duomem.compile.export.openvino import build_openvino
    from duomem.device.bench.bench import Baseline
    from duomem.device.engine.schemes import SCHEMES

    own = folder / OPENVINO
    own.mkdir()
    quant = SCHEMES[bundle.quantization].gguf[0]
    gguf = own / f"{quant}.gguf"
    facts = {"gguf": quant} | asdict(export_gguf(bundle, quant, gguf))
    file = build_openvino(gguf)
    return Baseline(OPENVINO, "duomem.compile.export.openvino", {"file": str(file)}, facts)


def _llama_cpp(bundle: Bundle, quants: str | None, folder: Path) -> Sequence[Baseline]:
    """A llama.cpp for each GGUF type, its weights written to `folder`."""
    from dataclasses import asdict

    from duomem.compile.export.gguf import export_gguf
    from duomem.device.bench.bench import Baseline
    from duomem.device.engine.schemes import SCHEMES

    baselines = []
    for quant in dict.fromkeys(quants.split(",")) if quants else SCHEMES[bundle.quantization].gguf:
        file = folder / f"{quant}.gguf"
        facts = asdict(export_gguf(bundle, quant, file))
        baselines.append(
            Baseline(f"{LLAMA_CPP} {quant}", "duomem.compile.export.llama_cpp", {"gguf": str(file)}, facts)
        )
    return baselines
