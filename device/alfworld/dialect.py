"""The rules a game file embeds: which of the known ALFWorld rule sets it is, and the texts that vary.

duomem's engine speaks two dialects, the official data's (release 2.1.3) and the alfworld 0.4.2 wheel's.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

_COMMENT = re.compile(r";[^\n]*")
_TASK_MARK = '"Your task is to: '
_HELP_MARK = "action help {"
# The official grammar reads these as markup, so no sentence of a playable game holds them.
_MARKUP = re.compile(r'[;|"<>\[\]#{}\\]')

# Digest of the PDDL domain (without comments, one space between words) -> where things are cleaned.
_SINKS = frozenset({"sinkbasintype"})
_DOMAINS = {
    "54e29bce2933d7dc48c8665e02d86add1d4600082641fbf91807eeb151cb08fa": _SINKS | {"sinktype"},
    "da18d44ab1bcf831f61e90b88a99ad5766d8bbb562b6f87839b4b6ace4f796fe": _SINKS,
}
# Digest of the grammar up to its help action, without the task sentence.
_GRAMMAR = "2c91a77259847be4e933c6fce4bfa0ed12c92cfa4c85c7a42c756bccc34ba259"


class DialectError(ValueError):
    """What is wrong with a domain or a grammar, in a few words without the file's name."""


@dataclass(frozen=True)
class Dialect:
    """What differs between rule sets: where things are cleaned, the goal sentence and the help page."""

    cleaning_types: frozenset[str]
    task: str
    help: str


def read_dialect(domain: str, grammar: str) -> Dialect:
    """Recognise `domain` (PDDL) and `grammar` (TextWorld logic) of a game and read its texts.

    Raises DialectError for rules that are not one of the two known sets.
    """
    cleaning_types = _DOMAINS.get(_digest(" ".join(_COMMENT.sub("", domain).lower().split())))
    if cleaning_types is None:
        raise DialectError("pddl_domain is not that of ALFWorld release 2.1.3 or of alfworld 0.4.2")
    head, help_mark, tail = grammar.partition(_HELP_MARK)
    before, task_mark, rest = head.partition(_TASK_MARK)
    task, quote, after = rest.partition('"')
    if not (help_mark and task_mark and quote):
        raise DialectError("grammar has no task sentence or no help action")
    if _digest(before + after) != _GRAMMAR:
        raise DialectError("grammar is not that of ALFWorld release 2.1.3 or of alfworld 0.4.2")
    if not task.strip() or len(task) > 500 or not task.isprintable() or _MARKUP.search(task):
        raise DialectError("grammar's task sentence is empty, too long, or holds markup or what cannot be printed")
    return Dialect(cleaning_types, task.strip(), _read_help(tail))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _read_help(action: str) -> str:
    """The help page from the grammar's help action: its feedback, or the rule that feedback names."""
    feedback = _between(action, 'feedback :: "', '"')
    if feedback == "#help.feedback#":
        try:
            rules = json.loads(_between(action, 'grammar :: """', '"""'))
            feedback = rules["help.feedback"][0]["rhs"]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise DialectError("grammar's help.feedback rule cannot be read") from None
    if (
        not isinstance(feedback, str)
        or len(feedback) > 5000
        or not feedback.replace("\n", "").isprintable()
        or _MARKUP.search(feedback)
    ):
        raise DialectError("grammar's help page is too long, or holds markup or what cannot be printed")
    return feedback.strip()


def _between(text: str, start: str, end: str) -> str:
    _, mark, rest = text.partition(start)
    inner, close, _ = rest.partition(end)
    if not (mark and close):
        raise DialectError(f"grammar's help action has no {start.split()[0]}")
    return inner
