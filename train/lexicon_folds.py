"""Lexicons that never saw the scene they are asked about, so that a student in training meets the errors of play.

Cross-fitting: the floor plans are dealt into folds, and each fold is asked of a lexicon of the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from duomem.core.reading import digest_of
from duomem.core.scene import floor_plan
from duomem.memory_packs.lexicon import Lexicon, Utterance

FOLDS = 5


class LexiconFolds:
    """`FOLDS` lexicons, each without a fold of the floor plans."""

    def __init__(self, examples: Iterable[tuple[str, Utterance]]) -> None:
        """examples: (group, what Lexicon.learn takes) of train games."""
        folds: list[dict[Utterance, None]] = [{} for _ in range(FOLDS)]
        for group, example in examples:
            for fold in range(FOLDS):
                if fold != _fold(group):
                    folds[fold][example] = None
        self.known = sorted({meant for told in folds for _, meant, _ in told})
        """All that the sentences mean."""
        self._lexicons = [Lexicon.learn(told) for told in folds]

    def of(self, group: str) -> Lexicon:
        """The lexicon that knows nothing of the floor plan of a group (TASK-OBJ-MOVABLE-RECEP-SCENE)."""
        return self._lexicons[_fold(group)]


def _fold(group: str) -> int:
    return int(digest_of(["lexicon", floor_plan(group)])[:8], 16) % FOLDS
