"""A lexicon ranks what a sentence may ask for, in a room; its JSON is read as hostile."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem.core.errors import PackError
from duomem.memory_packs.lexicon import UNIT, Lexicon, Ranker, Triple, Utterance, features

SIMPLE, CLEAN, TWO, LOOK = (
    "pick_and_place_simple",
    "pick_clean_then_place_in_recep",
    "pick_two_obj_and_place",
    "look_at_obj_in_light",
)
KITCHEN, BATHROOM, BEDROOM = ("fridge", "countertop", "drawer"), ("toilet", "bathtubbasin", "drawer"), ("bed", "drawer")
WORDS = {
    "cloth": ("rag", "cloth", BATHROOM),
    "mug": ("cup", "mug", KITCHEN),
    "remotecontrol": ("remote", "remote control", BEDROOM),
}
TARGETS = {"bathtubbasin": "tub", "fridge": "refrigerator", "drawer": "drawer", "bed": "bed"}


def _examples() -> list[Utterance]:
    found: list[Utterance] = []
    for thing, (*names, places) in WORDS.items():
        for target in sorted(TARGETS.keys() & set(places)):
            for name in (*names, thing):
                place = target if name == thing else TARGETS[target]
                found += [
                    (f"Put a {name} in the {place}.", (SIMPLE, thing, target), places),
                    (f"wash the {name} and put it in the {place}", (CLEAN, thing, target), places),
                    (f"put two {name}s in the {place}", (TWO, thing, target), places),
                ]
        found += [(f"look at the {name} under the lamp", (LOOK, thing, "desklamp"), places) for name in names]
    return found * 3


EXAMPLES = _examples()
TRIPLES = sorted({triple for _, triple, _ in EXAMPLES})
LEXICON = Lexicon.learn(EXAMPLES)


@pytest.mark.parametrize(
    ("sentence", "places", "triple"),
    [
        ("put the red rag into the tub", BATHROOM, (SIMPLE, "cloth", "bathtubbasin")),
        ("Place two cups inside the refrigerator!", KITCHEN, (TWO, "mug", "fridge")),
        ("wash the old rag, then put it in a drawer", BATHROOM, (CLEAN, "cloth", "drawer")),
        ("wash a mug and put it in fridge.", (), (CLEAN, "mug", "fridge")),
        ("look at a remote in the light of the lamp", BEDROOM, (LOOK, "remotecontrol", "desklamp")),
        ("put two remotecontrol in bed.", (), (TWO, "remotecontrol", "bed")),
    ],
)
def test_ranks_the_meant_triple_first(sentence: str, places: tuple[str, ...], triple: Triple) -> None:
    ranked = LEXICON.rank(sentence, TRIPLES, places)
    assert ranked[0][1] == triple
    assert sorted(found for _, found in ranked) == TRIPLES
    assert sum(chance for chance, _ in ranked) == pytest.approx(1)
    assert [chance for chance, _ in ranked] == sorted((chance for chance, _ in ranked), reverse=True)


def test_a_target_the_room_does_not_list_has_no_chance() -> None:
    ranked = LEXICON.rank("put a rag in the tub", TRIPLES, ("drawer", "bed"))
    assert {triple[2] for chance, triple in ranked if chance} == {"drawer", "bed", "desklamp"}
    assert len(ranked) == len(TRIPLES)
    tub = [(SIMPLE, "cloth", "bathtubbasin"), (CLEAN, "cloth", "bathtubbasin")]
    assert all(chance for chance, _ in LEXICON.rank("put a rag in the tub", tub, ("drawer",)))


def test_the_room_tells_what_is_in_it() -> None:
    triples = [(SIMPLE, "cloth", "drawer"), (SIMPLE, "mug", "drawer")]
    for places, thing in ((BATHROOM, "cloth"), (KITCHEN, "mug")):
        assert LEXICON.rank("put a thing in a drawer", triples, places)[0][1][1] == thing


def test_a_name_never_met_is_found_where_it_is_spelled() -> None:
    triples = [*TRIPLES, (SIMPLE, "soapbar", "drawer"), (SIMPLE, "statue", "drawer")]
    assert LEXICON.rank("put the soap bar in the drawer", triples)[0][1][1] == "soapbar"
    assert LEXICON.rank("put a rag in the drawer", triples)[0][1][1] == "cloth"


def test_equals_are_in_sorted_order_and_nothing_is_found_in_nothing() -> None:
    equal = [("t", "b", "c"), ("t", "a", "c"), ("t", "a", "c")]
    assert Lexicon.learn([]).rank("anything", equal) == [(0.5, ("t", "a", "c")), (0.5, ("t", "b", "c"))]
    assert LEXICON.rank("put a rag in the tub", []) == []


def _by_the_formula(
    lexicon: Lexicon, sentence: str, triples: list[Triple], places: tuple[str, ...]
) -> list[tuple[float, Triple]]:
    """Softmax over the possible triples of the sums of their labels' weights, as one writes it down."""
    value, read = lexicon.to_json(), features(sentence, places)
    sums: list[dict[str, int]] = []
    labels = [(head, name) for head in range(3) for name in value["labels"][head]]
    for head in range(3):
        known = {
            name: sum(
                dict(zip(row[::2], row[1::2], strict=True)).get(i, 0)
                for f, row in value["weights"].items()
                if f in read
            )
            for i, (of, name) in enumerate(labels)
            if of == head
        }
        spelled, other = max(known.values(), default=0) + 1, min(known.values(), default=0)
        names = {triple[head] for triple in triples}
        sums.append({name: known.get(name, spelled if name in read else other) for name in names})
    ordered = sorted(set(triples))
    possible = [t for t in ordered if not places or t[0] == LOOK or t[2] in places] or ordered
    scores = {t: sum(sums[head][t[head]] for head in range(3)) for t in possible}
    odds = {t: math.exp((score - max(scores.values())) * UNIT) for t, score in scores.items()}
    chances = {t: odds.get(t, 0.0) / math.fsum(odds.values()) for t in ordered}
    return sorted(((chances[t], t) for t in ordered), key=lambda found: (-found[0], found[1]))


_NAMES = st.sampled_from([LOOK, SIMPLE, "mug", "pan", "desk", "bed", "redmug", "pot"])
_LABELS = st.lists(_NAMES, max_size=4, unique=True)
_WORDS = st.sampled_from(["red", "mug", "a", "in", "desk", "pots", "bed"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_ranks_as_the_formula_says(data: st.DataObject) -> None:
    labels = [data.draw(_LABELS) for _ in range(3)]
    label = st.integers(0, max(0, sum(map(len, labels)) - 1))
    weight = st.integers(-1000, 1000) | st.integers(-20, 20)
    rows = st.dictionaries(label, weight, max_size=4) if any(labels) else st.just({})
    read = st.sampled_from(["", "red", "mug", "redmug", "in>desk", "@bed", "@desk", "bed$"])
    weights = {
        f: [n for pair in row.items() for n in pair] for f, row in data.draw(st.dictionaries(read, rows)).items()
    }
    lexicon = Lexicon.from_json({"labels": labels, "weights": weights}, "drawn")
    triples = data.draw(st.lists(st.tuples(_NAMES, _NAMES, _NAMES), max_size=12))
    sentence = " ".join(data.draw(st.lists(_WORDS, max_size=5)))
    places = tuple(data.draw(st.lists(st.sampled_from(["desk", "bed", "shelf", LOOK]), max_size=3)))
    expected = _by_the_formula(lexicon, sentence, triples, places)
    assert lexicon.rank(sentence, triples, places) == expected
    ranker = Ranker(lexicon, triples)
    assert [list(ranker.ranked(sentence, places)) for _ in range(2)] == [expected] * 2


def test_features() -> None:
    read = features("Put 2 red KETTLES in a soap bar glass", ("fridge",))
    assert {"", "kettles", "kettle", "kett*", "redkettle", "^put", "glass$", "soapbar", "in>bar", "@fridge"} <= set(
        read
    )
    assert not {"glas", "in>a", "2"} & set(read)
    assert max(map(len, features("x" * 1000 + " in " + "y" * 1000))) <= 64


def test_wrong_labels_are_outvoted() -> None:
    wrong: list[Utterance] = [("put a rag in the tub", (SIMPLE, "mug", "fridge"), ())] * 3
    ranked = Lexicon.learn(EXAMPLES + wrong).rank("put the rag in the tub", TRIPLES)
    assert ranked[0][1] == (SIMPLE, "cloth", "bathtubbasin")


def test_round_trip() -> None:
    value = json.loads(json.dumps(LEXICON.to_json()))
    again = Lexicon.from_json(value, "p.dmpack: lexicon")
    assert again.to_json() == value
    assert again.rank("put two rags in a tub", TRIPLES) == LEXICON.rank("put two rags in a tub", TRIPLES)


def test_the_same_numbers_in_another_order_without_the_fast_instructions() -> None:
    """Learned in a Python whose numpy and BLAS take other code paths."""
    code = (
        "import json, sys; from duomem.memory_packs.lexicon import Lexicon; examples = json.load(sys.stdin); "
        "lexicon = Lexicon.learn((s, tuple(triple), places) for s, triple, places in examples); "
        "print(json.dumps(lexicon.to_json()))"
    )
    slow = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX2 FMA3 AVX512F", "OPENBLAS_CORETYPE": "Nehalem"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(EXAMPLES[::-1]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **slow},
    )
    assert json.loads(done.stdout) == LEXICON.to_json()


def _changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(LEXICON.to_json()), **fields}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "lexicon is not"),
        ([], "lexicon is not"),
        ({"labels": [[], [], []]}, "lexicon is not"),
        (_changed(code="x"), "lexicon is not"),
        (_changed(labels=None), "field labels"),
        (_changed(labels=[["a"], ["b"]]), "field labels"),
        (_changed(labels=[["a"], ["b"], "c"]), "field labels"),
        (_changed(labels=[["a"], ["b"], [["c"]]]), "field labels"),
        (_changed(labels=[["a"], ["b", "b"], ["c"]]), "field labels"),
        (_changed(labels=[["a"], ["\x1b[2J"], ["c"]]), "field labels"),
        (_changed(labels=[["a"], ["b" * 65], ["c"]]), "field labels"),
        (_changed(labels=[["a"], [""], ["c"]]), "field labels"),
        (_changed(labels=[["a"], [f"b{i}" for i in range(501)], ["c"]]), "field labels"),
        (_changed(weights=[]), "field weights"),
        (_changed(weights={f"w{i}": [] for i in range(50_001)}), "field weights"),
        (_changed(weights={"\n": []}), "field weights"),
        (_changed(weights={"w" * 65: []}), "field weights"),
        (_changed(weights={"red": None}), "field weights.red"),
        (_changed(weights={"red": [0]}), "field weights.red"),
        (_changed(weights={"red": [0, 1.5]}), "field weights.red"),
        (_changed(weights={"red": [0, float("nan")]}), "field weights.red"),
        (_changed(weights={"red": [True, 1]}), "field weights.red"),
        (_changed(weights={"red": [0, "1"]}), "field weights.red"),
        (_changed(weights={"red": [-1, 1]}), "field weights.red"),
        (_changed(weights={"red": [10_000, 1]}), "field weights.red"),
        (_changed(weights={"red": [0, 1, 0, 1]}), "field weights.red"),
        (_changed(weights={"red": [0, 10**30]}), "field weights.red"),
    ],
)
def test_hostile_json_is_refused(value: Any, field: str) -> None:
    with pytest.raises(PackError) as caught:
        Lexicon.from_json(value, "p.dmpack: lexicon")
    message = str(caught.value)
    assert message.startswith(f"p.dmpack: lexicon: {field}") and message.endswith(": download the pack again")
    assert message.isprintable() and len(message) < 250
