"""The recorded ALFWorld steps of the parity gate, as tokens, and what agreeing on one means.

A step is walked along its recorded action, which every model is shown; no model's choice changes the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from duomem.core.trajectory import read_trajectories
from duomem.device.agent.prompt import PromptTokenizer

STEPS_FILE = Path(str(files("duomem.compile.gate") / "fixtures" / "steps.jsonl"))

FORCED = 1e9


@dataclass(frozen=True)
class RecordedStep:
    """at: place in the episode's tokens of the recorded action's first one. allowed: for each token of the
    action, the tokens that continue some admissible command which begins as the action does.
    """

    at: int
    allowed: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> range:
        """Places in the episode after which the logits of the action's tokens are needed."""
        return range(self.at - 1, self.at - 1 + len(self.allowed))


@dataclass(frozen=True)
class RecordedEpisode:
    """The tokens of a whole recorded episode and the steps in it. The first `shared` tokens are every
    episode's.
    """

    tokens: tuple[int, ...]
    shared: int
    steps: tuple[RecordedStep, ...]

    @property
    def rows(self) -> list[int]:
        """The rows of all steps, in order."""
        return [row for step in self.steps for row in step.rows]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RecordedEpisode:
        steps = tuple(RecordedStep(step["at"], tuple(map(tuple, step["allowed"]))) for step in value["steps"])
        return cls(tuple(value["tokens"]), value["shared"], steps)


def read_steps(file: Path, tokenizer: PromptTokenizer, context: int) -> list[RecordedEpisode]:
    """The episodes of a trajectory file as prompts, each ending with its last step that fits `context` tokens;
    those none of whose steps fit are left out. Raises GateError if the file cannot be read.
    """
    shared = len(tokenizer.system())
    episodes = []
    for trajectory in read_trajectories(file):
        tokens: list[int] = []
        steps: list[RecordedStep] = []
        recorded = iter(trajectory.steps)
        for segment in tokenizer.episode(trajectory.intro, trajectory.turns()):
            if segment.is_target:
                if len(tokens) + len(segment.tokens) > context:
                    break
                commands = [tokenizer.action(command) for command in next(recorded).admissible]
                steps.append(RecordedStep(len(tokens), _allowed(segment.tokens, commands)))
            tokens += segment.tokens
        if steps:
            end = steps[-1].at + len(steps[-1].allowed)
            episodes.append(RecordedEpisode(tuple(tokens[:end]), shared, tuple(steps)))
    return episodes


def _allowed(action: Sequence[int], commands: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """What may follow each prefix of `action`, itself one of `commands`; sorted."""
    return tuple(
        tuple(sorted({c[i] for c in commands if len(c) > i and tuple(c[:i]) == tuple(action[:i])}))
        for i in range(len(action))
    )


@dataclass
class Choices:
    """What a model takes for each token of each recorded action: the best allowed token, the best of all, and
    by how many nats the best allowed one is likelier than the next (FORCED where there is no other).
    """

    constrained: list[list[int]] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)
    margins: list[list[float]] = field(default_factory=list)

    def add(self, step: RecordedStep, logits: np.ndarray) -> None:
        """Note a step's choices; `logits` [tokens of the action, vocab]."""
        best, margins = [], []
        for row, allowed in zip(logits, step.allowed, strict=True):
            values = row[list(allowed)]
            best.append(allowed[int(values.argmax())])
            margins.append(float(np.diff(np.partition(values, -2)[-2:])[0]) if len(allowed) > 1 else FORCED)
        self.constrained.append(best)
        self.free.append([int(token) for token in logits.argmax(axis=-1)])
        self.margins.append(margins)


def compared(recorded: Sequence[int], chosen: Sequence[int]) -> int:
    """How many tokens of a step count: those of `recorded` up to the first that is not `chosen`, with it."""
    for i, (token, choice) in enumerate(zip(recorded, chosen, strict=True)):
        if token != choice:
            return i + 1
    return len(recorded)
