"""The action filter: commands withheld as no-op or repeated, as far as the episode itself tells.

It keeps a small model from circling, as the short-term memory of Glover (1986) does. No game file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from duomem.device.world.novelty import NoveltyTracker

_THING = re.compile(r"[a-z]+ [0-9]+")
_ON_THE_WAY = re.compile(r"^You (?:arrive at|open the) [^.]*\. ")


def allowed(admissible: Sequence[str], withheld: Container[str] | None) -> Sequence[str]:
    """The admissible commands that are not withheld; all of them if nothing is left, or nothing withheld (None)."""
    return [c for c in admissible if withheld is None or c not in withheld] or admissible


def withheld(admissible: Sequence[str], action_filter: Container[str] | None) -> tuple[str, ...]:
    """The admissible commands that are withheld; none of them if nothing would be left."""
    left = allowed(admissible, action_filter)
    return () if len(left) == len(admissible) else tuple(c for c in admissible if c not in left)


class ActionFilter:
    """The commands withheld at this point of one episode: `command in action_filter`."""

    def __init__(self, intro: str) -> None:
        self._things = set(_THING.findall(intro))
        self._novelty = NoveltyTracker()
        self._without_effect: set[str] = set()

    def observe(self, command: str, text: str) -> None:
        """Note a command and the observation after it. Anything new, and no command is a repeated one any more."""
        self._things.update(_THING.findall(text))
        if self._novelty.observe(_ON_THE_WAY.sub("", text)):
            self._without_effect.clear()
        else:
            self._without_effect.add(command)

    def __contains__(self, command: object) -> bool:
        """Whether a command is withheld: it brought nothing new and nothing new was seen since, or it names a place
        or an object that was never seen.
        """
        return command in self._without_effect or not self._things.issuperset(_THING.findall(str(command)))
