"""No floor plan is asked of a lexicon that read a sentence of it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from duomem.memory_packs.lexicon import Lexicon, Triple, Utterance
from duomem.memory_packs.lexicon_learn import learn_weights
from duomem.train import lexicon_folds
from duomem.train.lexicon_folds import FOLDS, LexiconFolds

SIMPLE = "pick_and_place_simple"
GROUPS = [f"{SIMPLE}-Mug-None-Desk-{plan}" for plan in range(301, 321)]


def _examples() -> list[tuple[str, Utterance]]:
    """In each floor plan one word for a mug that no other has, and one that all have."""
    meant: Triple = (SIMPLE, "mug", "desk")
    own = [(group, (f"put the {_word(group)} down", meant, ("desk",))) for group in GROUPS]
    common: list[tuple[str, Utterance]] = [(group, ("put the beaker down", meant, ("desk",))) for group in GROUPS]
    other: list[tuple[str, Utterance]] = [
        (group, ("put the skillet down", (SIMPLE, "pan", "shelf"), ("shelf",))) for group in GROUPS
    ]
    return own + common + other


def _word(group: str) -> str:
    return "x" + "".join(chr(ord("a") + int(digit)) for digit in group[-3:])


class _Reader(Lexicon):
    """read: the examples it was learned from."""

    read: list[Utterance]

    @classmethod
    def learn(cls, examples: Iterable[Utterance]) -> Lexicon:
        read = list(examples)
        found = cls(*learn_weights(read))
        found.read = read
        return found


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> LexiconFolds:
    """Lexicons that tell what they read, each example given twice."""
    monkeypatch.setattr(lexicon_folds, "Lexicon", _Reader)
    return LexiconFolds(_examples() * 2)


def _read(folds: LexiconFolds, group: str) -> list[Utterance]:
    lexicon = folds.of(group)
    assert isinstance(lexicon, _Reader)
    return lexicon.read


def test_never_reads_the_floor_plan_it_is_asked_about(folds: LexiconFolds) -> None:
    for group in GROUPS:
        sentences = {sentence for sentence, _, _ in _read(folds, group)}
        assert f"put the {_word(group)} down" not in sentences and "put the beaker down" in sentences
        assert sum(f"put the {_word(other)} down" in sentences for other in GROUPS) >= len(GROUPS) / 2


def test_each_lexicon_reads_an_example_once(folds: LexiconFolds) -> None:
    read = [_read(folds, group) for group in GROUPS]
    assert all(len(examples) == len(set(examples)) for examples in read)
    assert {example for examples in read for example in examples} == {example for _, example in _examples()}


def test_one_lexicon_for_all_tasks_in_a_floor_plan(folds: LexiconFolds) -> None:
    assert folds.of(GROUPS[0]) is folds.of("look_at_obj_in_light-Pen-None-DeskLamp-301")
    assert 1 < len({id(folds.of(group)) for group in GROUPS}) <= FOLDS


def test_all_that_the_sentences_mean_is_known_and_found(folds: LexiconFolds) -> None:
    assert folds.known == [(SIMPLE, "mug", "desk"), (SIMPLE, "pan", "shelf")]
    for sentence, triple in (("take a beaker away", folds.known[0]), ("a skillet, please", folds.known[1])):
        assert all(folds.of(group).rank(sentence, folds.known)[0][1] == triple for group in GROUPS)


def test_without_examples_nothing_is_known() -> None:
    folds = LexiconFolds([])
    assert folds.known == [] and folds.of(GROUPS[0]).rank("put it down", []) == []
