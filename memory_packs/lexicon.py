"""What people's words stand for: from a sentence and the places of a room to (task type, object, target) triples.

A log-linear model over whole triples; its weights are counts of tenths in a pack, and all it computes on a device.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
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
        self._labels = tuple(tuple(names) for names in labels)
        self._weights = {feature: tuple(row) for feature, row in weights.items()}

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
        ordered = sorted(set(triples))
        possible = [triple for triple in ordered if allows(places, triple)] or ordered
        read = features(sentence, places)
        heads = self._scores(read)
        for i, head in enumerate(heads):
            spelled, other = max(head.values(), default=0) + 1, min(head.values(), default=0)
            unknown = {triple[i] for triple in possible} - head.keys()
            head.update((name, spelled if name in read else other) for name in unknown)
        types, objects, targets = heads
        scores = {triple: types[triple[0]] + objects[triple[1]] + targets[triple[2]] for triple in possible}
        top = max(scores.values(), default=0)
        odds = {triple: math.exp((score - top) * UNIT) for triple, score in scores.items()}
        total = math.fsum(odds.values())
        return sorted(((odds.get(t, 0.0) / total, t) for t in ordered), key=lambda found: (-found[0], found[1]))

    def _scores(self, read: Sequence[str]) -> list[dict[str, int]]:
        """For task types, objects and targets, the sum of the weights of each label, in UNITs."""
        sums = [0] * sum(map(len, self._labels))
        for feature in read:
            row = self._weights.get(feature, ())
            for label, weight in zip(row[::2], row[1::2], strict=True):
                sums[label] += weight
        rest = iter(sums)
        return [{name: next(rest) for name in names} for names in self._labels]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, the field `lexicon` of a pack."""
        return {
            "labels": [list(names) for names in self._labels],
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
        size = sum(map(len, labels))
        for feature, row in weights.items():
            if feature and not _is_name(feature):
                raise refuse("weights", f"has a feature that is not {_NAME_LIMIT} printable characters or less")
            if not isinstance(row, list) or len(row) % 2 or len(row) > 2 * size or any(type(n) is not int for n in row):
                raise refuse(f"weights.{feature}", "is not a list of pairs of whole numbers")
            if any(not 0 <= label < size for label in row[::2]) or len(set(row[::2])) * 2 != len(row):
                raise refuse(f"weights.{feature}", f"does not name different labels from 0 to {size - 1}")
            if any(abs(weight) > _WEIGHT_LIMIT for weight in row[1::2]):
                raise refuse(f"weights.{feature}", f"has a weight beyond {_WEIGHT_LIMIT}")
        return cls(labels, weights)


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
