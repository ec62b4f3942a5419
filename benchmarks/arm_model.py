"""Speed of the matrix kernels on ARM CPUs without one: cycles a multiply-accumulate, by llvm-mca, against llama.cpp.

    python benchmarks/arm_model.py --ggml llama.cpp/ggml [--llvm /usr/lib/llvm-22/bin] [--json FILE]
    python benchmarks/arm_model.py --library FILE.so [--function NAME] [--products 3]

Every figure is an estimate: inner loops only, all data in the first cache, by LLVM's model of the CPU. Ours are the
kernels that compile/kernels chooses for aarch64.toml's variants, llama.cpp's are ggml's, built by zig for the CPU
itself. A multiply-accumulate is one of the model's: the exact matrix-vector kernel does three products for each.
llama.cpp's sources: `pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36`, in vendor/llama.cpp.
"""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tvm
from arm_loops import Llvm, Loop, main_loop

from duomem.compile.kernels.matmul import matmul
from duomem.compile.kernels.storage import STORAGES
from duomem.compile.kernels.tile import cpu_of
from duomem.compile.library.target import load_target
from duomem.compile.library.toolchains.link import linker
from duomem.compile.library.worker import resolve_target
from duomem.core.errors import FileError, UserError

_N, _K = 1536, 576
_SOURCE = "src/ggml-cpu/arch/arm/repack.cpp"


@dataclass(frozen=True)
class ArmCpu:
    """A CPU: its variant of aarch64.toml, LLVM's scheduling model for it, zig's name, ggml's tile, its SVE width."""

    name: str
    variant: str
    model: str
    zig: str
    tile: str
    sve_bits: int = 128
    note: str = ""


CPUS = (
    ArmCpu("cortex-a76", "dotprod", "neoverse-n1", "cortex_a76", "4x4", note="modelled as Neoverse N1, the same core"),
    ArmCpu("cortex-x3", "i8mm", "cortex-x3", "cortex_x3", "4x8", note="LLVM takes Neoverse V2's model"),
    ArmCpu("neoverse-v1", "i8mm", "neoverse-v1", "neoverse_v1", "8x8", 256, "llama.cpp by SVE, as it chooses there"),
    ArmCpu("apple-m1", "dotprod", "apple-m1", "apple_m1", "4x4", note="LLVM has only Cyclone's three vector pipes"),
)
PASSES = {"prefill": False, "decode": True}
"""Whether a pass has one row."""


def cycles(llvm: Llvm, loop: Loop, cpu: ArmCpu, products: int = 1) -> dict[str, Any]:
    """The estimate for a loop that does `products` multiply-accumulates for each of the model's."""
    speed, macs = llvm.speed(loop, cpu.model), loop.macs / products
    return {
        "cycles_per_mac": speed.cycles / macs,
        "pipes_per_mac": speed.pipes / macs,
        "instructions_per_mac": speed.instructions / macs,
        "macs": macs,
        **asdict(speed),
        "function": loop.function,
        "integer": loop.integer,
    }


def our_library(cpu: ArmCpu, storage: str, one_row: bool, activations: str, folder: Path) -> Path:
    """The kernel that compile/kernels chooses, compiled and linked."""
    target = load_target("aarch64")
    llvm_target = resolve_target(next(v for v in target.variants if v.name == cpu.variant).llvm)
    chosen = {} if activations == "exact" else {"activations": activations}
    kernel = matmul(STORAGES[storage], _N, _K, cpu_of(llvm_target), one_row, **chosen)
    module = tvm.IRModule({"kernel": kernel.with_attr("global_symbol", "kernel")})
    file = folder / f"{cpu.name}-{one_row}-{activations}.so"
    tvm.compile(module, target=llvm_target).export_library(str(file), fcompile=linker(target.link))
    return file


def our_activations() -> list[str]:
    """What the kernels can be asked for."""
    return ["exact", *(["int8"] if "activations" in inspect.signature(matmul).parameters else [])]


def llama_cpp_object(cpu: ArmCpu, ggml: Path, folder: Path) -> Path:
    """ggml's kernels, compiled for the CPU. Raises FileError."""
    if not (ggml / _SOURCE).is_file():
        raise FileError(f"--ggml {ggml}: has no {_SOURCE}: give the folder ggml of llama.cpp's sources")
    file = folder / f"{cpu.name}-ggml.o"
    includes = [f"-I{ggml / part}" for part in ("include", "src", "src/ggml-cpu")]
    command = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-gnu", f"-mcpu={cpu.zig}"]
    command += ["-O3", "-DNDEBUG", "-std=c++17", *includes, "-c", str(ggml / _SOURCE), "-o", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FileError(f"{ggml / _SOURCE}: does not compile for {cpu.name}: {done.stderr.strip()[-300:]}")
    return file


def estimate(llvm: Llvm, cpu: ArmCpu, storage: str, ggml: Path | None, folder: Path) -> dict[str, Any]:
    """All kernels of one CPU, by pass and name."""
    result: dict[str, Any] = {name: {} for name in PASSES}
    for name, one_row in PASSES.items():
        for activations in our_activations():
            library = our_library(cpu, storage, one_row, activations, folder)
            loop = main_loop(llvm.functions(library), f"{library.name}")
            products = 3 if activations == "exact" and loop.integer else 1
            result[name][f"duomem {activations}"] = cycles(llvm, loop, cpu, products)
    if ggml:
        file = llama_cpp_object(cpu, ggml, folder)
        for name, kind in {"prefill": "gemm", "decode": "gemv"}.items():
            symbol = f"ggml_{kind}_q4_0_{cpu.tile}_q8_0"
            loop = main_loop(llvm.functions(file, (symbol,)), symbol, cpu.sve_bits)
            result[name]["llama.cpp Q4_0"] = cycles(llvm, loop, cpu)
    return {**asdict(cpu), "passes": result}


def table(cpus: list[dict[str, Any]]) -> str:
    """Cycles for 100 multiply-accumulates, as a Markdown table."""
    engines = list(dict.fromkeys(name for cpu in cpus for rows in cpu["passes"].values() for name in rows))
    lines = [f"| CPU | pass | {' | '.join(engines)} |", "|---|---|" + "---:|" * len(engines)]
    for cpu in cpus:
        for name, rows in cpu["passes"].items():
            cells = [f"{100 * rows[e]['cycles_per_mac']:.2f}" if e in rows else "-" for e in engines]
            lines.append(f"| {cpu['name']} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ggml", type=Path, metavar="DIR", help="llama.cpp's folder ggml: its kernels too")
    parser.add_argument("--llvm", type=Path, metavar="DIR", help="folder of llvm-mca and llvm-objdump")
    parser.add_argument("--storage", choices=[s.name for s in STORAGES.values() if s.grouped], default="q4")
    parser.add_argument("--library", type=Path, metavar="FILE", help="only the main loop of this object or library")
    parser.add_argument("--function", default="", metavar="NAME", help="of --library, where it is")
    parser.add_argument("--products", type=int, default=1, metavar="N", help="of --library, for one of the model's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON object here too")
    args = parser.parse_args()
    llvm = Llvm(args.llvm)
    if args.library:
        symbols = (args.function,) if args.function else ()
        loops = {cpu: main_loop(llvm.functions(args.library, symbols), str(args.library), cpu.sve_bits) for cpu in CPUS}
        found: list[dict[str, Any]] = [
            {**asdict(cpu), "passes": {"given": {args.library.name: cycles(llvm, loop, cpu, args.products)}}}
            for cpu, loop in loops.items()
        ]
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = [estimate(llvm, cpu, args.storage, args.ggml, Path(folder)) for cpu in CPUS]
    print(f"estimates by {llvm.version()}'s llvm-mca, not measured: cycles for 100 multiply-accumulates")
    print(table(found))
    print("\n".join(f"{cpu.name}: {cpu.note}" for cpu in CPUS))
    line = json.dumps(
        {"benchmark": "arm_model", "estimate": True, "llvm": llvm.version(), "storage": args.storage, "cpus": found}
    )
    if args.json:
        args.json.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    try:
        main()
    except UserError as e:
        sys.exit(f"arm_model.py: {e}")
