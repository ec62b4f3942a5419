"""What people's words stand for: from a sentence and the places of a room to (task type, object, target) triples.

A log-linear model over whole triples; its weights are counts of tenths in a pack, and all it computes on a device.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from duomem.core.errors import PackError
from duomem.core.scene import kinds_of, receptacles
from duomem.core.trajectory import Trajectory

Triple = tuple[str, str, str]
"""(task type, object, target), as ALFWorld names them; the target of LOOK is a kind of lamp."""
Utterance = tuple[str, Triple, Collection[str]]
"""(sentence, what it asks for, receptacle kinds its room lists; none where they are unknown)."""

LOOK = "look_at_obj_in_light"
"""The task type whose target is no receptacle, so that no room lists it."""
UNIT = 0.1
"""Log-odds a stored weight of 1 stands for."""

_WORD = re.compile(r"[a-z]+")
_STOP = frozenset(("a", "an", "and", "are", "is", "it", "of", "some", "that", "the", "them"))
_PREPOSITIONS = frozenset(
    word
    for words in ("at by near next with using", "in inside into on onto to", "from off out up", "beneath under")
    for word in words.split()
)
_WORD_LIMIT = 20  # letters of a word that are read
_NAME_LIMIT = 64
_FEATURE_LIMIT = 50_000
_LABEL_LIMIT = 500
_WEIGHT_LIMIT = 1_000
_NEAR = 30
"""UNITs from the best, within which triples are ranked first: a twentieth of its chance."""


def utterances(trajectory: Trajectory) -> list[Utterance]:
    """What an episode teaches a lexicon: the sentence that told its goal, and the game's own. None for a goal that is
    about nothing with a name.
    """
    if not (trajectory.object_type and trajectory.target_type):
        return []
    places = tuple(sorted(kinds_of(receptacles(trajectory.intro))))
    return [(sentence, trajectory.triple, places) for sentence in (trajectory.goal, trajectory.template_goal)]


def features(sentence: str, places: Collection[str] = ()) -> list[str]:
    """What the model reads of a sentence and a room, each once, sorted.

    For "two red kettles in a bin": each word, its singular and the first four letters of a long one ("kettles",
    "kettle", "kett*"); each pair of neighbours written as one ("redkettle", as ALFWorld writes "soapbar"), with ^
    and $ for the ends; each word under the preposition before it ("^>kettle", "in>bin"); each kind of place
    ("@fridge"); and "" for the prior.
    """
    whole = [word[:_WORD_LIMIT] for word in _WORD.findall(sentence.lower())]
    singular = [_singular(word) for word in whole]
    found = {"", *whole, *singular, *(f"@{place}" for place in places)}
    found |= {f"{word[:4]}*" for word in singular if len(word) > 4}
    found |= {a + b for a, b in zip(["^", *singular], [*singular, "$"], strict=True)}
    preposition = "^"
    for word in singular:
        if word in _PREPOSITIONS:
            preposition = word
        elif word not in _STOP:
            found.add(f"{preposition}>{word}")
    return sorted(found)


def allows(places: Collection[str], triple: Triple) -> bool:
    """Whether a room that lists `places` can have the target; any can where none are listed."""
    return not places or triple[0] == LOOK or triple[2] in places


class Lexicon:
    """Weights from features of a sentence to task types, objects and targets."""

    def __init__(self, labels: Sequence[Sequence[str]], weights: Mapping[str, Sequence[int]]) -> None:
        """labels: the names of task types, of objects, of targets. weights: feature -> [label, weight, label,
        weight, ...] with labels counted through the three lists and weights in UNITs.
        """
        self.labels = tuple(tuple(names) for names in labels)
        self._weights = dict(weights)

    @classmethod
    def learn(cls, examples: Iterable[Utterance]) -> Lexicon:
        """The lexicon of example sentences: the same examples give the same numbers, on any CPU."""
        from duomem.memory_packs.lexicon_learn import learn_weights  # the one user of numpy here

        return cls(*learn_weights(examples))

    def rank(
        self, sentence: str, triples: Collection[Triple], places: Collection[str] = ()
    ) -> list[tuple[float, Triple]]:
        """Every one of `triples` with the chance that the sentence asks for it.

        sentence: a person's or a template's. places: receptacle kinds the room lists ("coffeetable"), none where
        they are unknown; a target the room does not list has no chance, unless that leaves no triple.
        A name the lexicon never met counts as a little more than the likeliest one where the sentence spells it,
        else as the least likely.

        Returns (chance, triple), best first, equals in sorted order; the chances sum to 1.
        """
        return list(Ranker(self, triples).ranked(sentence, places))

    def scores(self, read: Iterable[str]) -> list[list[int]]:
        """For the labels of task types, objects and targets: the sums of their weights over features, in UNITs."""
        sums = [0] * sum(map(len, self.labels))
        for feature in read:
            row = self._weights.get(feature, ())
            for label, weight in zip(row[::2], row[1::2], strict=True):
                sums[label] += weight
        rest = iter(sums)
        return [list(islice(rest, len(names))) for names in self.labels]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, the field `lexicon` of a pack."""
        return {
            "labels": [list(names) for names in self.labels],
            "weights": {feature: list(row) for feature, row in sorted(self._weights.items())},
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Lexicon:
        """A Lexicon of untrusted JSON. Raises PackError naming `where` and the field that is wrong."""

        def refuse(field: str, why: str) -> PackError:
            return PackError(f"{where}: field {field} {why}: download the pack again")

        if not isinstance(value, dict) or value.keys() != {"labels", "weights"}:
            raise PackError(f"{where}: lexicon is not an object of labels and weights: download the pack again")
        labels, weights = value["labels"], value["weights"]
        if not isinstance(labels, list) or len(labels) != 3 or not all(map(_are_names, labels)):
            raise refuse("labels", f"is not three lists of at most {_LABEL_LIMIT} different short names")
        if not isinstance(weights, dict) or len(weights) > _FEATURE_LIMIT:
            raise refuse("weights", f"is not an object of at most {_FEATURE_LIMIT} features")
        letters = "".join(weights)
        if not (letters.isascii() and letters.isprintable()) or max(map(len, weights), default=0) > _NAME_LIMIT:
            raise refuse("weights", f"has a feature that is not {_NAME_LIMIT} printable characters or less")
        size = sum(map(len, labels))
        any_label = frozenset(range(size))
        for feature, row in weights.items():
            if not isinstance(row, list) or len(row) % 2 or len(row) > 2 * size or set(map(type, row)) - {int}:
                raise refuse(f"weights.{feature}", "is not a list of pairs of whole numbers")
            named = set(row[::2])
            if not named <= any_label or len(named) * 2 != len(row):
                raise refuse(f"weights.{feature}", f"does not name different labels from 0 to {size - 1}")
            if row and (max(row[1::2]) > _WEIGHT_LIMIT or min(row[1::2]) < -_WEIGHT_LIMIT):
                raise refuse(f"weights.{feature}", f"has a weight beyond {_WEIGHT_LIMIT}")
        return cls(labels, weights)


class Ranker:
    """Triples to rank by a lexicon for many sentences: what does not depend on the sentence is worked out once."""

    def __init__(self, lexicon: Lexicon, triples: Iterable[Triple]) -> None:
        self._lexicon = lexicon
        self._triples = sorted(set(triples))
        self._by_place: dict[str | None, list[int]] = defaultdict(list)  # None: in every room
        for i, triple in enumerate(self._triples):
            self._by_place[None if triple[0] == LOOK else triple[2]].append(i)
        self._heads = [_Head(lexicon.labels[i], [triple[i] for triple in self._triples]) for i in range(3)]

    def ranked(self, sentence: str, places: Collection[str] = ()) -> Iterator[tuple[float, Triple]]:
        """As Lexicon.rank, one after another; the first few cost least."""
        read = features(sentence, places)
        types, objects, targets = map(_Head.scores, self._heads, self._lexicon.scores(read), repeat(read))
        scores = [a + b + c for a, b, c in zip(types, objects, targets, strict=True)]
        if not scores:
            return
        possible = sorted(i for place in {None, *places} for i in self._by_place.get(place, ())) if places else ()
        possible = possible or range(len(scores))
        found = [scores[i] for i in possible]
        top = max(found)
        odds = {score: math.exp((score - top) * UNIT) for score in set(found)}
        total = math.fsum(map(odds.__getitem__, found))
        near = [i for i, score in zip(possible, found, strict=True) if score > top - _NEAR]
        near.sort(key=scores.__getitem__, reverse=True)
        for i in near:
            yield odds[scores[i]] / total, self._triples[i]
        chances = dict(zip(possible, (odds[score] / total for score in found), strict=True))
        rest = sorted(set(range(len(scores))).difference(near))
        rest.sort(key=lambda i: chances.get(i, 0.0), reverse=True)
        for i in rest:
            yield chances.get(i, 0.0), self._triples[i]


class _Head:
    """The names that triples have in one place, as numbers: of labels of the lexicon, or of names it never met."""

    def __init__(self, labels: Sequence[str], names: Sequence[str]) -> None:
        known = {name: i for i, name in enumerate(labels)}
        self._unknown = {name: len(labels) + i for i, name in enumerate(sorted(set(names) - known.keys()))}
        numbers = known | self._unknown
        self._numbers = [numbers[name] for name in names]

    def scores(self, sums: list[int], read: Iterable[str]) -> Iterator[int]:
        """For each triple that of its name. sums: of the labels. read: features of the sentence."""
        scores = sums + [min(sums, default=0)] * len(self._unknown)
        spelled = max(sums, default=0) + 1
        for name in self._unknown.keys() & read:
            scores[self._unknown[name]] = spelled
        return map(scores.__getitem__, self._numbers)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _NAME_LIMIT and value.isascii() and value.isprintable()


def _are_names(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= _LABEL_LIMIT
        and all(map(_is_name, values))
        and len(set(values)) == len(values)
    )
