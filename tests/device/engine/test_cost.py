"""The cost model: what a pass moves and computes at a depth, and its JSON form."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from duomem.core.errors import UserError
from duomem.device.engine.cost import AttentionCost, DecoderCost

WORK = DecoderCost(1000, 200, 30, (AttentionCost(3, 0, 8, 16), AttentionCost(2, 4, 8, 16)))


def test_json_is_there_and_back() -> None:
    assert DecoderCost.from_json(json.loads(json.dumps(WORK.to_json())), "bundle.json") == WORK


def test_a_full_layer_sees_all_tokens_and_a_sliding_one_its_window() -> None:
    full, sliding = WORK.attention
    assert [full.keys(n) for n in (0, 3, 4, 9)] == [1, 4, 5, 10]
    assert [sliding.keys(n) for n in (0, 3, 4, 9)] == [1, 4, 4, 4]


def test_decode_at_a_depth() -> None:
    assert WORK.decode_bytes(9) == 1000 + 3 * 16 * 10 + 2 * 16 * 4
    assert WORK.decode_flops(9) == 200 + 30 + 3 * 8 * 10 + 2 * 8 * 4


@pytest.mark.parametrize("context", [0, 2, 11])
def test_prefill_is_its_tokens_one_by_one_with_one_head(context: int) -> None:
    one_by_one = sum(WORK.decode_flops(context + i) for i in range(7))
    assert WORK.prefill_flops(7, context) == one_by_one - 6 * WORK.head_flops


def _broken() -> list[tuple[str, Any]]:
    good = WORK.to_json()
    cases: list[tuple[str, Any]] = [("attention", None), ("attention", []), ("attention", {**good, "attention": []})]
    for name in ("weight_bytes", "layer_flops", "head_flops"):
        for value in (-1, 1.5, True, "1", None, 1 << 63):
            cases.append((name, {**good, name: value}))
    for name in ("layers", "window", "flops_per_pair", "kv_bytes_per_token"):
        wrong = copy.deepcopy(good)
        del wrong["attention"][1][name]
        cases.append((f"attention[1].{name}", wrong))
    cases.append(("attention[0].layers", {**good, "attention": [7]}))
    return cases


@pytest.mark.parametrize(("field", "value"), _broken())
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        DecoderCost.from_json(value, "bundle.json")
    assert str(caught.value).startswith(f"bundle.json: field cost.{field} is missing or not ")
