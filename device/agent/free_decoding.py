"""Free decoding: a command as the model writes it, token by token, with no list to choose from.

Greedy; where that writes a withheld command, the likeliest branch away from it is followed instead.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from duomem.device.agent.constrained_decoding import PrefixCursor, common_prefix, log_softmax
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import Session

_LONGEST_COMMAND = 24  # tokens
_TRIES = 32


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
    def log_probabilities(self) -> np.ndarray:
        return log_softmax(self.logits)

    @cached_property
    def log_likelihood(self) -> float:
        """Of the path, in nats."""
        return self.before.log_likelihood + self.before.log_probabilities[self.path[-1]] if self.before else 0.0

    def best_branch(self) -> tuple[float, int]:
        """The likeliest token not yet followed from here, after the log-likelihood of the path through it."""
        left = self.log_probabilities.copy()
        left[self.taken] = -np.inf
        token = int(left.argmax())
        return self.log_likelihood + float(left[token]), token


def decode_command(
    session: Session,
    logits: np.ndarray,
    tokenizer: PromptTokenizer,
    withheld: Container[str],
) -> tuple[str, list[int]]:
    """The command the model writes, greedily up to a newline.

    logits: float [vocab], after the session's last token.
    withheld: commands not to give. The likeliest token passed over so far, at any prefix, is then followed greedily,
    until a command is not withheld; after 32 tries the first one is given all the same.

    Returns (command, its tokens that the session does not hold yet, the newline included).
    """
    cursor = PrefixCursor(session, logits)
    nodes: list[_Node] = []
    path: tuple[int, ...] = ()
    before: _Node | None = None
    tried: list[tuple[int, ...]] = []
    while True:
        while len(path) < _LONGEST_COMMAND and not (path and _ends(tokenizer, path[-1])):
            before = _Node(path, before, cursor.logits(path))
            nodes.append(before)
            path = (*path, int(before.logits.argmax()))
            before.taken.append(path[-1])
        tried.append(path)
        if _text(tokenizer, path) not in withheld:
            break
        if len(tried) == _TRIES:
            path = tried[0]
            break
        (_, token), before = max(((node.best_branch(), node) for node in nodes), key=lambda branch: branch[0][0])
        path = (*before.path, token)
        before.taken.append(path[-1])
    tokens = _written(tokenizer, path)
    keep = common_prefix(cursor.path, tokens)
    cursor.rewind(keep)
    return _text(tokenizer, path), [*tokens[keep:], tokenizer.newline]


def _ends(tokenizer: PromptTokenizer, token: int) -> bool:
    return token == tokenizer.newline or "\n" in tokenizer.decode([token])


def _written(tokenizer: PromptTokenizer, path: tuple[int, ...]) -> tuple[int, ...]:
    return path[:-1] if path and _ends(tokenizer, path[-1]) else path


def _text(tokenizer: PromptTokenizer, path: tuple[int, ...]) -> str:
    return tokenizer.decode(_written(tokenizer, path)).strip()
