"""The rules a game file embeds: which of the known ALFWorld rule sets it is, and the texts that vary.

They are those of the official data (release 2.1.3), of the alfworld 0.4.2 wheel and of the alfworld 0.3.5 wheel.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace

_COMMENT = re.compile(r";[^\n]*")
_TASK_MARK = '"Your task is to: '
_HELP_MARK = "action help {"
_KNOWN = "ALFWorld release 2.1.3, of alfworld 0.4.2 or of alfworld 0.3.5"
# The official grammar reads these as markup, so no sentence of a playable game holds them.
_MARKUP = re.compile(r'[;|"<>\[\]#{}\\]')

DIALECTS = ("0.4", "0.3")
"""Versions of alfworld whose words differ: `move X to Y` or `put X in/on Y`, and what arriving somewhere says."""

# Digest of the PDDL domain (without comments and help, one space between words) -> where things are cleaned.
_SINKS = frozenset({"sinkbasintype"})
_DOMAINS = {
    "2bb2c5c7591ba4452d38c74721bd09a10c9d72c9ec3f5b2fb7cd8f9b57ae6a64": _SINKS | {"sinktype"},
    "6eca02b13b273d84ef7f20bb79d194d4e0542ba3127af5a257c0115ebb5c1930": _SINKS,
}
_HELP_ACTION = "(:action help :parameters (?a - agent) :precondition () :effect (and (checked ?a) ) ) "
# Digest of the grammar up to its help action, without the task sentence -> dialect.
_GRAMMARS = {
    "2c91a77259847be4e933c6fce4bfa0ed12c92cfa4c85c7a42c756bccc34ba259": "0.4",
    "d5f44ba1e4b0b4727e1378592f15eca5bee802fe23ab030c9c227558b07e0228": "0.3",
}
_MOVES = {"0.4": ("move ", " to "), "0.3": ("put ", " in/on ")}
_HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object"""


class DialectError(ValueError):
    """What is wrong with a domain or a grammar, in a few words without the file's name."""


@dataclass(frozen=True)
class Dialect:
    """What differs between rule sets. version: of DIALECTS. cleaning_types: where things are cleaned.
    task: the goal sentence. help: the help page, "" in 0.3, which has no such command.
    """

    version: str
    cleaning_types: frozenset[str]
    task: str
    help: str

    def spoken_as(self, version: str) -> Dialect:
        """The same rules in the words of another version."""
        return (
            self if version == self.version else replace(self, version=version, help=_HELP if version == "0.4" else "")
        )


def read_dialect(domain: str, grammar: str) -> Dialect:
    """Recognise `domain` (PDDL) and `grammar` (TextWorld logic) of a game and read its texts.

    Raises DialectError for rules that are not among the known sets.
    """
    words = " ".join(_COMMENT.sub("", domain).lower().split())
    cleaning_types = _DOMAINS.get(_digest(words.replace(_HELP_ACTION, "")))
    if cleaning_types is None:
        raise DialectError(f"pddl_domain is not that of {_KNOWN}")
    head, help_mark, tail = grammar.partition(_HELP_MARK)
    before, task_mark, rest = head.partition(_TASK_MARK)
    task, quote, after = rest.partition('"')
    if not (task_mark and quote):
        raise DialectError("grammar has no task sentence")
    version = _GRAMMARS.get(_digest(before + after))
    if version is None or bool(help_mark) is not (version == "0.4") or bool(help_mark) is not (_HELP_ACTION in words):
        raise DialectError(f"grammar is not that of {_KNOWN}")
    if not task.strip() or len(task) > 500 or not task.isprintable() or _MARKUP.search(task):
        raise DialectError("grammar's task sentence is empty, too long, or holds markup or what cannot be printed")
    return Dialect(version, cleaning_types, task.strip(), _read_help(tail) if help_mark else "")


def translate(command: str, version: str) -> str:
    """`command` in the words of a version of DIALECTS: only putting down is said differently."""
    verb, between = _MOVES[version]
    for other_verb, other_between in _MOVES.values():
        thing, mark, place = command.removeprefix(other_verb).partition(other_between)
        if command.startswith(other_verb) and mark:
            return f"{verb}{thing}{between}{place}"
    return command


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
