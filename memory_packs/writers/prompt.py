"""What a writer is asked: a prompt of prompts/*.toml filled with the episodes that an entry tells of.

A prompt is a versioned file; packs record its digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from string import Template

from duomem.core.chat.model import Message
from duomem.core.files import read_toml, sha256_input
from duomem.core.trajectory import Trajectory

PROMPTS = ("script", "avoid")
"""The memory formats that a model can write, each with a prompt of its name."""

_LONGEST_OBSERVATION = 240
_LONGEST_ANSWER = 2_000
_MOST_TURNS = 60
_LINE = Template("> $action\n$observation")


@dataclass(frozen=True)
class Prompt:
    """A prompt file. digest: SHA-256 of its bytes, hex. system, question: the first two messages; lost: the part of the
    question that tells of a lost episode, "" if it has none; again: what is said of an answer that cannot be used.
    max_tokens: of an answer.
    """

    name: str
    version: int
    digest: str
    system: str
    question: Template
    lost: Template
    again: Template
    max_tokens: int

    @classmethod
    def load(cls, name: str) -> Prompt:
        """The prompt for a memory format, of PROMPTS."""
        with as_file(files("duomem.memory_packs.writers") / "prompts" / f"{name}.toml") as file:
            said, digest = read_toml(file, "writer's prompt"), sha256_input(file, "writer's prompt")
        texts = {field: Template(said.get(field, "")) for field in ("question", "lost", "again")}
        return cls(
            name,
            said["version"],
            digest,
            said["system"].strip(),
            max_tokens=said["max_tokens"],
            **texts,
        )

    @property
    def tells_lost(self) -> bool:
        """Whether it tells of lost episodes."""
        return bool(self.lost.template)

    def first(
        self, won: Trajectory, lost: Trajectory | None, verbs: Sequence[str], lessons: Sequence[str], most: int
    ) -> list[Message]:
        """The messages that ask for an entry.

        verbs: what its steps begin with; lessons: what may follow an "avoid". most: steps.
        """
        told = self.lost.substitute(played=transcript(lost), lessons=", ".join(lessons)) if lost else ""
        question = self.question.substitute(
            goal=won.template_goal, won=transcript(won), lost=told, verbs=", ".join(verbs), most=most
        )
        return [Message("system", self.system), Message("user", question.strip())]

    def once_more(self, asked: Sequence[Message], answer: str, reason: str) -> list[Message]:
        """The messages that ask again after an answer that cannot be used."""
        said = Message("user", self.again.substitute(reason=reason).strip())
        return [*asked, Message("assistant", answer[:_LONGEST_ANSWER]), said]


def transcript(played: Trajectory) -> str:
    """An episode as text: the room, then each command of its player and what it brought.

    The goal is told in the game's own words. Long observations are cut, and of a long episode the middle is left out.
    """
    turns = [
        _LINE.substitute(action=step.action, observation=_cut(after))
        for step, (_, after) in zip(played.steps, played.turns(), strict=True)
        if not step.is_noise
    ]
    if len(turns) > _MOST_TURNS:
        turns[_MOST_TURNS // 2 : -_MOST_TURNS // 2] = ["..."]
    room = played.intro.replace(played.goal, played.template_goal).strip()
    return "\n".join([room[: 4 * _LONGEST_OBSERVATION], *turns])


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_OBSERVATION else line[:_LONGEST_OBSERVATION] + " ..."
