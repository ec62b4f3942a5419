"""Commands that would be given in vain, as far as the episode itself tells; no game file is opened.

A tabu list in the sense of Glover (1986): it keeps a small student from circling and from counting on.
"""

from __future__ import annotations

import re

from duomem.device.agent.exploration import NoveltyTracker

_THING = re.compile(r"[a-z]+ [0-9]+")
_ON_THE_WAY = re.compile(r"^You (?:arrive at|open the) [^.]*\. ")


class ActionFilter:
    """The list of one episode: `command in tabu`."""

    def __init__(self, intro: str) -> None:
        self._things = set(_THING.findall(intro))
        self._novelty = NoveltyTracker()
        self._vain: set[str] = set()

    def observe(self, command: str, observation: str) -> None:
        """Note a command and what it brought: anything new, and every command may be given again."""
        self._things.update(_THING.findall(observation))
        if self._novelty.is_new(_ON_THE_WAY.sub("", observation)):
            self._vain.clear()
        else:
            self._vain.add(command)

    def __contains__(self, command: object) -> bool:
        """Whether a command brought nothing new, with nothing new seen since, or names a place or an object that
        was never seen.
        """
        return command in self._vain or not self._things.issuperset(_THING.findall(str(command)))
