"""PDDL text to nested tuples: the parentheses, nothing of their meaning.

Linear in the input, no recursion, so that a hostile file costs no more than its bytes.
"""

from __future__ import annotations

import re

Expression = str | tuple["Expression", ...]

MAX_DEPTH = 64
_COMMENT = re.compile(r";[^\n]*")
_TOKEN = re.compile(r"[()]|[^\s()]+")


class PddlError(ValueError):
    """What is wrong with a PDDL text, in a few words without the file's name."""


def parse_pddl(text: str) -> tuple[Expression, ...]:
    """The one parenthesised expression in `text`, lower-cased (PDDL ignores case), as nested tuples of words.

    Raises PddlError if parentheses do not balance, nest deeper than MAX_DEPTH, or enclose only part of it.
    """
    root: list[Expression] = []
    open_lists: list[list[Expression]] = [root]
    for token in _TOKEN.findall(_COMMENT.sub("", text).lower()):
        if token == "(":
            if len(open_lists) > MAX_DEPTH:
                raise PddlError(f"parentheses nest deeper than {MAX_DEPTH}")
            open_lists.append([])
        elif token == ")":
            if len(open_lists) == 1:
                raise PddlError("a ')' closes nothing")
            done = tuple(open_lists.pop())
            open_lists[-1].append(done)
        else:
            open_lists[-1].append(token)
    if len(open_lists) > 1:
        raise PddlError("a '(' is never closed")
    if len(root) != 1 or not isinstance(root[0], tuple):
        raise PddlError("it is not one parenthesised expression")
    return root[0]


def parse_typed_list(words: tuple[Expression, ...]) -> list[tuple[str, str]]:
    """`a b - t c - u` as [(a, t), (b, t), (c, u)]. Raises PddlError if a name has no type."""
    pairs: list[tuple[str, str]] = []
    untyped: list[str] = []
    expect_type = False
    for word in words:
        if not isinstance(word, str):
            raise PddlError("a list of names holds parentheses")
        if expect_type:
            pairs += [(name, word) for name in untyped]
            untyped, expect_type = [], False
        elif word == "-":
            expect_type = True
        else:
            untyped.append(word)
    if untyped or expect_type:
        raise PddlError("a list of names ends without a type")
    return pairs
