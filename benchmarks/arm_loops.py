"""Inner loops of AArch64 machine code, and their speed by a static model: llvm-objdump and llvm-mca.

A loop is a backward branch and what it jumps over; one that holds no other loop with multiply-accumulates is inner.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from duomem.core.errors import FileError

_SYMBOL = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*?)\s*(?://.*)?$")
_REFERENCE = re.compile(r"0x([0-9a-f]+) <[^>]*>")
_BRANCH = re.compile(r"^(b|b\.\w+|cbn?z|tbn?z)\s")
_SCALES = re.compile(r"^f(mul|mla|madd)\s")
_INTEGER = {
    **{name: {"4s": 16, "2s": 8, "s": 16} for name in ("sdot", "udot", "usdot")},
    **{name: {"4s": 32, "s": 32} for name in ("smmla", "ummla", "usmmla")},
    **{name: {"8h": 8, "4s": 4} for name in ("smlal", "smlal2", "umlal", "umlal2", "smull", "smull2")},
}
_FLOAT = {"fmla": {"4s": 4, "2s": 2, "8h": 8, "s": 4, "h": 8}, "fmadd": {"": 1}}
_FIRST = re.compile(r"^(\w+)\s+\{?\s*([a-z])\d+(?:\.(\w+))?")
_ITERATIONS = 200
_FEATURES = "+fullfp16,+dotprod,+i8mm,+sve,+sve2,+bf16"


@dataclass(frozen=True)
class Instruction:
    """One instruction: its address, its text, and the address its branch goes to, if it is a branch."""

    address: int
    text: str
    target: int | None = None


@dataclass(frozen=True)
class Loop:
    """The body of a loop and what it multiplies.

    macs: multiply-accumulates an iteration, in 8-bit integers if there are any, else in float.
    """

    function: str
    body: tuple[Instruction, ...]
    macs: int
    integer: bool

    @property
    def scaled(self) -> bool:
        """Whether integer sums are scaled as floats inside the loop, as they must to be the whole product."""
        return not self.integer or any(_SCALES.match(i.text) for i in self.body)


@dataclass(frozen=True)
class Speed:
    """What llvm-mca says of a loop: cycles an iteration in its steady state, and the bound of the pipes alone."""

    cycles: float
    pipes: float
    instructions: int


def count_macs(text: str, table: dict[str, dict[str, int]], sve_bits: int = 128) -> int:
    """Multiply-accumulates of one instruction that `table` names; z registers have `sve_bits`."""
    found = _FIRST.match(text)
    if not found:
        return 0
    name, register, shape = found.groups()
    size = table.get(name, {}).get(shape or "", 0)
    return size * sve_bits // 128 if register == "z" else size


def parse(listing: str) -> dict[str, list[Instruction]]:
    """The functions of an llvm-objdump listing."""
    functions: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in listing.splitlines():
        if symbol := _SYMBOL.match(line):
            current = functions.setdefault(symbol[1], [])
        elif found := _LINE.match(line):
            text = " ".join(found[2].split())
            reference = _REFERENCE.search(text) if _BRANCH.match(text) else None
            target = int(reference[1], 16) if reference else None
            current.append(Instruction(int(found[1], 16), text, target))
    return functions


def find_loops(name: str, code: list[Instruction], sve_bits: int = 128) -> Iterator[Loop]:
    """The inner loops with multiply-accumulates of a function."""
    index = {instruction.address: i for i, instruction in enumerate(code)}
    spans = {
        (index[i.target], index[i.address])
        for i in code
        if i.target is not None and i.target <= i.address and i.target in index
    }
    found = []
    for start, end in sorted(spans, key=lambda span: span[1] - span[0]):
        body = tuple(code[start : end + 1])
        integer = sum(count_macs(i.text, _INTEGER, sve_bits) for i in body)
        macs = integer or sum(count_macs(i.text, _FLOAT, sve_bits) for i in body)
        if macs and not any(start <= a and b <= end for a, b in found):
            found.append((start, end))
            yield Loop(name, body, macs, bool(integer))


def main_loop(functions: dict[str, list[Instruction]], where: str, sve_bits: int = 128) -> Loop:
    """The inner loop that does most of the work: 8-bit if there is one, and most products an iteration.

    Raises FileError if there is none, or if it leaves the scaling to a loop around it.
    """
    loops = [loop for name, code in functions.items() for loop in find_loops(name, code, sve_bits)]
    if not loops:
        raise FileError(f"{where}: no loop with multiply-accumulates: name the function that has one")
    loop = max(loops, key=lambda loop: (loop.integer, loop.macs))
    if not loop.scaled:
        raise FileError(
            f"{where}: the inner loop of {loop.function} does not scale its sums: unroll it, so that the loop over "
            "groups is the inner one"
        )
    return loop


class Llvm:
    """LLVM's tools, from the folder `bin`, or from the search path."""

    def __init__(self, bin: Path | None = None) -> None:
        self._bin = bin

    def version(self) -> str:
        """What llvm-mca calls itself."""
        found = re.search(r"LLVM version (\S+)", self._run("llvm-mca", ["--version"]))
        return f"LLVM {found[1]}" if found else "LLVM"

    def functions(self, file: Path, symbols: tuple[str, ...] = ()) -> dict[str, list[Instruction]]:
        """The functions of an object file or library, or only those named."""
        only = [f"--disassemble-symbols={','.join(symbols)}"] if symbols else []
        return parse(self._run("llvm-objdump", ["-d", "--no-show-raw-insn", "--mattr=+all", *only, str(file)]))

    def speed(self, loop: Loop, model: str) -> Speed:
        """The loop's speed by the scheduling model of LLVM's CPU `model`, everything in the first cache."""
        text = "\n".join(_REFERENCE.sub("around", i.text) for i in loop.body)
        first, last = (self._summary(text, model, n) for n in (_ITERATIONS, 3 * _ITERATIONS))
        cycles = (last["TotalCycles"] - first["TotalCycles"]) / (2 * _ITERATIONS)
        return Speed(cycles, first["BlockRThroughput"], len(loop.body))

    def _summary(self, text: str, model: str, iterations: int) -> dict[str, float]:
        options = ["-mtriple=aarch64", f"-mcpu={model}", f"-mattr={_FEATURES}", f"-iterations={iterations}", "-json"]
        return json.loads(self._run("llvm-mca", options, text))["CodeRegions"][0]["SummaryView"]

    def _run(self, tool: str, options: list[str], text: str = "") -> str:
        command = str(self._bin / tool) if self._bin else tool
        try:
            done = subprocess.run([command, *options], input=text, capture_output=True, text=True, timeout=120)
        except (OSError, subprocess.TimeoutExpired) as e:
            raise FileError(f"{command}: {e}: install Debian's llvm-22, or name its folder with --llvm") from None
        if done.returncode:
            raise FileError(f"{command}: {done.stderr.strip().splitlines()[0] if done.stderr else 'failed'}")
        return done.stdout
