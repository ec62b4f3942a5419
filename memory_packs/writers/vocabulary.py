"""The words that an entry may use: those of its episodes, and a few that name nothing.

An answer with another word is refused, so no object, place or command enters a pack that was not played, nor anything
else that a model, or whoever answers in its place, might say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from duomem.core.trajectory import Trajectory

SEARCH, AVOID = "search", "avoid"

_NAMES_NOTHING = re.compile(
    "an?|and|any|again|all|are|at|as|back|both|by|each|either|else|empty|every|first|for|found|from|has|have|here|if|in|"
    "into|inside|is|it|its|itself|near|next|no|not|nothing|now|of|off|on|once|one|only|onto|or|other|same|second|so|some|"
    "still|than|that|the|them|then|there|these|they|things?|this|those|to|too|two|under|until|up|when|where|which|while|"
    "with|without|yet|your?"
)
"""Words that stand for no object, place or command."""

_NAME = re.compile(r"\b([a-z]{2,40}) \d{1,4}\b")
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Vocabulary:
    """verbs: what a step may begin with, in the order they were played; lessons: what may follow an "avoid"; words:
    the names of things and places, the verbs, and the words of the goal.
    """

    verbs: tuple[str, ...]
    lessons: tuple[str, ...]
    words: frozenset[str]

    @classmethod
    def of(cls, won: Trajectory, lost: Trajectory | None = None) -> Vocabulary:
        """That of a won episode, and of a lost one of the same task.

        Steps begin with the player's own commands that did something. Lessons begin with what the games offered.
        """
        episodes = (won, lost) if lost else (won,)
        verbs = tuple(dict.fromkeys(_verb(s.action) for s in won.steps if not s.is_noise and s.action in s.admissible))
        if "go" in verbs:
            verbs = (SEARCH, *verbs)
        offered = (_verb(command) for t in episodes for step in t.steps for command in step.admissible)
        lessons = tuple(dict.fromkeys(offered)) if lost else ()
        names = {name for t in episodes for text in _texts(t) for name in _NAME.findall(text)}
        names |= {won.object_type, won.target_type} - {""}
        return cls(verbs, lessons, frozenset(names.union(verbs, lessons, _WORD.findall(won.template_goal.lower()))))

    def fault(self, step: str) -> str:
        """What is wrong with a step, in words for its writer; "" if nothing is."""
        first, *rest = _WORD.findall(step) or [""]
        verbs: Sequence[str] = self.verbs
        if first == AVOID and self.lessons and rest:
            first, rest, verbs = rest[0], rest[1:], self.lessons
        if first not in verbs:
            return f'"{first}" is no command of the game that a step may begin with'
        for word in rest:
            if not _NAMES_NOTHING.fullmatch(word) and not self.words.intersection(_singulars(word)):
                return f'"{word}" is no thing, place or command of the game'
        return ""


def names(steps: Sequence[str], name: str) -> bool:
    """Whether one of the steps names a thing or place."""
    return any(name in _singulars(word) for step in steps for word in _WORD.findall(step))


def _singulars(word: str) -> Iterator[str]:
    """The word, and what it may be the plural of."""
    yield word
    for ending, instead in (("ves", "f"), ("ves", "fe"), ("es", ""), ("s", "")):
        if word.endswith(ending):
            yield word.removesuffix(ending) + instead


def content_words(step: str) -> list[str]:
    """The words of a step that name something, each as its likeliest singular."""
    return [word.removesuffix("s") for word in _WORD.findall(step) if not _NAMES_NOTHING.fullmatch(word)]


def _verb(command: str) -> str:
    return command.split(" ", 1)[0]


def _texts(played: Trajectory) -> Iterator[str]:
    yield played.intro
    for action, observation in played.turns():
        yield action
        yield observation
