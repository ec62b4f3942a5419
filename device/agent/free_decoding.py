"""Free decoding: a command as the model writes it, token by token, with no list to choose from.

Greedy; where that writes a withheld command, the likeliest branch away from it is followed instead.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from duomem.device.agent.choice import BEGINNING
from duomem.device.agent.constrained_decoding import PrefixCursor, common_prefix
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import Session

_LONGEST_COMMAND = 24  # tokens
_TRIES = 32


@dataclass(frozen=True)
class Written:
    """command: as the model wrote it; rest: its tokens that the session does not hold yet, the newline included;
    candidates: it, what was rejected before it and what else it could have begun with, each with its probability.
    """

    command: str
    rest: list[int]
    candidates: list[tuple[str, float]]


@dataclass
class _Node:
    """A prefix of a command. path: its tokens; before: the prefix one token shorter; logits: [vocab], of what
    follows; taken: the tokens already followed from here.
    """

    path: tuple[int, ...]
    before: _Node | None
    logits: np.ndarray
    taken: list[int] = field(default_factory=list)

    @cached_property
    def log_sum(self) -> float:
        """log of the sum of exp(logits)."""
        most = self.logits.max()
        return float(most) + math.log(np.exp(self.logits - most).sum(dtype=np.float64))

    @cached_property
    def log_likelihood(self) -> float:
        """Of the path, in nats."""
        return self.before.log_likelihood_of(self.path[-1]) if self.before else 0.0

    def log_likelihood_of(self, token: int) -> float:
        """Of the path and this token after it."""
        return self.log_likelihood + float(self.logits[token]) - self.log_sum

    def best_branch(self) -> tuple[float, int]:
        """The likeliest token not yet followed from here, after the log-likelihood of the path through it."""
        left = self.logits.copy()
        left[self.taken] = -np.inf
        token = int(left.argmax())
        return self.log_likelihood_of(token), token


def decode_command(
    session: Session,
    logits: np.ndarray,
    tokenizer: PromptTokenizer,
    withheld: Container[str],
) -> Written:
    """The command the model writes, greedily up to a newline.

    logits: float [vocab], after the session's last token.
    withheld: commands not to give. The likeliest token passed over so far, at any prefix, is then followed greedily,
    until a command is not withheld; after 32 tries the first one is given all the same.
    """
    cursor = PrefixCursor(session, logits)
    nodes: list[_Node] = []
    path: tuple[int, ...] = ()
    before: _Node | None = None
    tried: dict[tuple[int, ...], _Node | None] = {}
    while True:
        while len(path) < _LONGEST_COMMAND and not (path and _ends(tokenizer, path[-1])):
            before = _Node(path, before, cursor.logits(path))
            nodes.append(before)
            path = (*path, int(before.logits.argmax()))
            before.taken.append(path[-1])
        tried[path] = before
        if _text(tokenizer, path) not in withheld:
            break
        if len(tried) == _TRIES:
            path = next(iter(tried))
            break
        (_, token), before = max(((node.best_branch(), node) for node in nodes), key=lambda branch: branch[0][0])
        path = (*before.path, token)
        before.taken.append(path[-1])
    tokens = _written(tokenizer, path)
    keep = common_prefix(cursor.path, tokens)
    cursor.rewind(keep)
    written = [(_text(tokenizer, path), node.log_likelihood_of(path[-1])) for path, node in tried.items() if node]
    begun = [
        (tokenizer.decode([*node.path, token]).strip() + BEGINNING, log_likelihood)
        for node in nodes
        if path[: len(node.path)] == node.path
        for log_likelihood, token in [node.best_branch()]
    ]
    return Written(
        _text(tokenizer, path),
        [*tokens[keep:], tokenizer.newline],
        [(text, math.exp(log_likelihood)) for text, log_likelihood in (*written, *begun)],
    )


def _ends(tokenizer: PromptTokenizer, token: int) -> bool:
    return token == tokenizer.newline or "\n" in tokenizer.decode([token])


def _written(tokenizer: PromptTokenizer, path: tuple[int, ...]) -> tuple[int, ...]:
    return path[:-1] if path and _ends(tokenizer, path[-1]) else path


def _text(tokenizer: PromptTokenizer, path: tuple[int, ...]) -> str:
    return tokenizer.decode(_written(tokenizer, path)).strip()
