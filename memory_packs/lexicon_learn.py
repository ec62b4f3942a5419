"""The weights of a Lexicon, learned from example sentences: multinomial logistic regression over whole triples.

AdaGrad with an L1 penalty on small batches (Duchi et al. 2011, JMLR 12), in a fixed order; seconds on one core.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from duomem.memory_packs.lexicon import UNIT, Utterance, allows, features

_EPOCHS = 8
_STEPS = 300  # at least, so that few examples are learned too
_BATCH = 128
_RATE = 0.3
_L1 = 1e-4  # keeps weights few
_L2 = 1e-5
_START = 1e-2  # of the sums of squared gradients


def learn_weights(examples: Iterable[Utterance]) -> tuple[list[list[str]], dict[str, list[int]]]:
    """Labels and weights as Lexicon takes them.

    An example with places is learned twice, with its room and without, so that both ways of asking are known.
    The posterior is over all triples of the examples that the room allows.
    """
    ordered = sorted((sentence, triple, tuple(sorted(set(places)))) for sentence, triple, places in examples)
    triples = sorted({triple for _, triple, _ in ordered})
    labels = [sorted({triple[head] for triple in triples}) for head in range(3)]
    columns = [(head, name) for head in range(3) for name in labels[head]]
    has_label = np.array([[float(triple[head] == name) for head, name in columns] for triple in triples])
    number = {triple: i for i, triple in enumerate(triples)}
    rooms = {(), *(places for _, _, places in ordered)}
    room_logits = {places: np.array([0.0 if allows(places, t) else -np.inf for t in triples]) for places in rooms}

    cases = [
        (features(sentence, places), number[triple], room_logits[places])
        for sentence, triple, room in ordered
        for places in sorted({(), room})
        if allows(places, triple)
    ]
    names = sorted({feature for read, _, _ in cases for feature in read})
    row_of = {feature: i for i, feature in enumerate(names)}
    rows = [np.array([row_of[feature] for feature in read]) for read, _, _ in cases]
    weights = np.zeros((len(names), len(columns)))
    squares = np.full_like(weights, _START)
    shuffle = np.random.RandomState(0)  # its stream is the same in every numpy
    for _ in range(max(_EPOCHS, math.ceil(_STEPS / max(1, math.ceil(len(cases) / _BATCH))))):
        order = shuffle.permutation(len(cases))
        for i in range(0, len(order), _BATCH):
            batch = order[i : i + _BATCH]
            truth = np.array([cases[j][1] for j in batch])
            closed = np.stack([cases[j][2] for j in batch])
            _step(weights, squares, has_label, [rows[j] for j in batch], truth, closed)
    return labels, _stored(names, weights)


def _step(
    weights: np.ndarray,
    squares: np.ndarray,
    has_label: np.ndarray,
    rows: list[np.ndarray],
    truth: np.ndarray,
    closed: np.ndarray,
) -> None:
    """One step of AdaGrad, in place, on the weights of the features that the batch has.

    weights, squares: features x labels. has_label: triples x labels, 0 or 1. rows: features of each case.
    truth: triple of each case. closed: cases x triples, -inf for those the room does not allow, else 0.
    """
    lengths = np.array([len(row) for row in rows])
    flat = np.concatenate(rows)
    sums = np.add.reduceat(weights[flat], np.cumsum(lengths) - lengths, axis=0)
    logits = sums @ has_label.T + closed
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(rows)), truth] -= 1
    label_error = error @ has_label / len(rows)

    cases = np.repeat(np.arange(len(rows)), lengths)
    by_feature = np.argsort(flat, kind="stable")
    touched, first = np.unique(flat[by_feature], return_index=True)
    gradient = np.add.reduceat(label_error[cases[by_feature]], first, axis=0) + _L2 * weights[touched]
    squares[touched] += gradient**2
    rate = _RATE / np.sqrt(squares[touched])
    moved = weights[touched] - rate * gradient
    weights[touched] = np.sign(moved) * np.maximum(0, np.abs(moved) - rate * _L1)


def _stored(names: list[str], weights: np.ndarray) -> dict[str, list[int]]:
    """Feature -> [label, weight in UNITs, ...], without zeros; so coarse that no CPU's rounding shows."""
    coarse = np.rint(weights / UNIT).astype(int)
    found: dict[str, list[int]] = {}
    for name, row in zip(names, coarse, strict=True):
        labels = np.flatnonzero(row)
        if len(labels):
            found[name] = np.stack([labels, row[labels]], axis=1).ravel().tolist()
    return found
