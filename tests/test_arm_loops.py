"""benchmarks/arm_loops.py: which loop of a listing is the one that counts, and how much it multiplies."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from duomem.core.errors import FileError

LOOPS: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "arm_loops.py"))

SCALED = """
0000000000000100 <product>:
     100:      	movi	v1.2d, #0000000000000000
     104:      	ldp	q2, q3, [x1], #0x20
     108:      	sdot	v1.4s, v2.16b, v3.4b[1]
     10c:      	sdot	v1.4s, v3.16b, v2.16b
     110:      	scvtf	v4.4s, v1.4s
     114:      	fmla	v5.4s, v4.4s, v6.4s
     118:      	subs	w2, w2, #0x1            // =1
     11c:      	b.ne	0x104 <product+0x4>
     120:      	cbnz	x3, 0x100 <product>
     124:      	ret
"""
UNSCALED = SCALED.replace("fmla", "fadd")
FLOAT = SCALED.replace("sdot	v1.4s, v2.16b, v3.4b[1]", "nop").replace("sdot	v1.4s, v3.16b, v2.16b", "nop")


def _main_loop(text: str) -> Any:
    return LOOPS["main_loop"](LOOPS["parse"](text), "a file")


def test_the_inner_loop_is_found_and_its_8_bit_products_counted() -> None:
    loop = _main_loop(SCALED)
    assert (loop.function, loop.macs, loop.integer) == ("product", 32, True)
    assert loop.body[0].text.startswith("ldp") and loop.body[-1].text == "b.ne 0x104 <product+0x4>"
    assert loop.body[-2].text == "subs w2, w2, #0x1"


def test_float_products_count_only_where_there_are_no_others() -> None:
    assert _main_loop(FLOAT).macs == 4


def test_a_loop_that_leaves_the_scaling_out_is_refused() -> None:
    with pytest.raises(FileError, match="a file: the inner loop of product does not scale its sums"):
        _main_loop(UNSCALED)


def test_a_listing_without_products_is_refused() -> None:
    with pytest.raises(FileError, match="a file: no loop with multiply-accumulates"):
        _main_loop(FLOAT.replace("fmla", "fadd"))


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("sdot v0.4s, v1.16b, v2.4b[3]", 16),
        ("smmla v0.4s, v1.16b, v2.16b", 32),
        ("smmla z0.s, z1.b, z2.b", 64),
        ("smlal2 v0.8h, v1.16b, v2.16b", 8),
        ("add v0.4s, v1.4s, v2.4s", 0),
    ],
)
def test_products_of_an_instruction(text: str, macs: int) -> None:
    assert LOOPS["count_macs"](text, LOOPS["_INTEGER"], 256) == macs
