"""Whether an observation says something new in its episode: what action filters and reminders go by."""

from __future__ import annotations

from duomem.core.episode_words import NOTHING_HAPPENS


class NoveltyTracker:
    """The observations of one episode so far."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def observe(self, text: str) -> bool:
        """Note an observation. Returns whether it says something new."""
        new = text != NOTHING_HAPPENS and text not in self._texts
        self._texts.add(text)
        return new
