"""`duomem bench`: how fast a bundle is here, how close to this machine's peaks, and against llama.cpp.

A table for people, then one JSON line for programs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from duomem.cli.options import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duomem.device.bench.bench import Baseline
    from duomem.device.engine.bundle import Bundle

LLAMA_CPP = "llama.cpp"


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "bench",
        help="measure a bundle's speed on this machine",
        description="Measure a bundle's speed on this machine: llama-bench's pp and tg, time to "
        "the first token, memory, and the share of the machine's own peaks.",
    )
    parser.add_argument("bundle", type=Path, help="compiled student, a folder made by `duomem compile`")
    parser.add_argument("--prompt", type=count, default=512, metavar="TOKENS", help="length of pp (%(default)s)")
    parser.add_argument("--gen", type=count, default=128, metavar="TOKENS", help="length of tg (%(default)s)")
    parser.add_argument("--repetitions", type=count, default=5, metavar="N", help="after a warm-up (%(default)s)")
    parser.add_argument("--threads", type=counts, metavar="N[,N...]", help="one run for each (default: all cores)")
    parser.add_argument(
        "--context",
        type=depths,
        default=(),
        metavar="TOKENS[,...]",
        help="time decoding after so many tokens too, as 0,512,1024,2048,4096",
    )
    parser.add_argument("--vs", choices=(LLAMA_CPP,), help="time this engine too, on the same weights, in turns")
    parser.add_argument(
        "--vs-quant",
        metavar="TYPE[,TYPE...]",
        help="GGUF types to give it (default: all that hold the bundle's weights)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON object to this file too")
    parser.set_defaults(func=run)


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 1, separated by commas, each once."""
    return tuple(dict.fromkeys(count(part) for part in text.split(",")))


def depths(text: str) -> tuple[int, ...]:
    """Whole numbers of at least 0, separated by commas, ascending, each once."""
    values = sorted({int(part) for part in text.split(",")})
    if values[0] < 0:
        raise argparse.ArgumentTypeError(f"{values[0]} is not at least 0")
    return tuple(values)


def run(args: argparse.Namespace) -> None:
    """Measure and print. Raises UserError."""
    import tempfile

    from duomem.core.cpu import usable_cores
    from duomem.core.errors import UserError
    from duomem.core.files import write_json
    from duomem.device.bench.bench import Settings, run_bench
    from duomem.device.bench.report import report
    from duomem.device.engine.bundle import read_bundle

    if args.vs_quant and not args.vs:
        raise UserError("--vs-quant: for which engine? give --vs llama.cpp too")
    if args.json and args.json.is_dir():
        raise UserError(f"--json {args.json}: is a folder: give a file")
    settings = Settings(args.prompt, args.gen, args.repetitions, args.threads or (usable_cores(),), args.context)
    bundle = read_bundle(args.bundle)
    with tempfile.TemporaryDirectory(prefix="duomem-bench-") as folder:
        baselines = _llama_cpp(bundle, args.vs_quant, Path(folder)) if args.vs else ()
        result = run_bench(bundle, settings, baselines)
    print(report(result))
    if args.json:
        write_json(args.json, result)
    print(json.dumps(result, separators=(",", ":")))


def _llama_cpp(bundle: Bundle, quants: str | None, folder: Path) -> Sequence[Baseline]:
    """A llama.cpp for each GGUF type, its weights written to `folder`."""
    from dataclasses import asdict
    from importlib.util import find_spec

    from duomem.compile.export.gguf import export_gguf
    from duomem.compile.export.llama_cpp import HOW_TO_GET_IT
    from duomem.core.errors import UserError
    from duomem.device.bench.bench import Baseline
    from duomem.device.engine.schemes import SCHEMES

    if find_spec("llama_cpp") is None:
        raise UserError(f"--vs {LLAMA_CPP}: {HOW_TO_GET_IT}")
    baselines = []
    for quant in dict.fromkeys(quants.split(",")) if quants else SCHEMES[bundle.quantization].gguf:
        file = folder / f"{quant}.gguf"
        facts = asdict(export_gguf(bundle, quant, file))
        baselines.append(
            Baseline(f"{LLAMA_CPP} {quant}", "duomem.compile.export.llama_cpp", {"gguf": str(file)}, facts)
        )
    return baselines
