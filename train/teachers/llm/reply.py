"""What a model means by its answer: a thought and a command, however it dresses them up.

Markers, numbering, quotes, fences, case and JSON are read alike. What remains unreadable costs the teacher a step.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_MAX_LETTERS = 20_000
_MAX_COMMAND = 120
_MAX_THOUGHT = 4_000

_REASONING = re.compile(r"^\s*(?:<think>)?(.*?)</think>(.*)$", re.S)
_FENCE = re.compile(r"^\s*```.*$", re.M)
_NUMBER = r"^[^\w\n]*(?:\d{1,2}[.):][^\w\n]*)?"
_ACTION = re.compile(_NUMBER + r"(?:next |my )?(?:action|command|act)(?: \d+)?\W*?[:：>=][^\S\n]*(.*)$", re.I | re.M)
_INLINE = re.compile(r"[\s{,\"'*(](?:action|command)[\"'*]*\s*:\s*(.+)$", re.I | re.M)
_THOUGHT = re.compile(_NUMBER + r"(?:thoughts?|think|reasoning|reason)(?: \d+)?\W*?[:：>=]\s*", re.I | re.M)
_PROMPT = re.compile(r"^\s*>\s*(?=\w)")
_BULLET = re.compile(r"^\s*(?:[-+•–]|\(?\d{1,2}[.):])\s+")
_VERB = re.compile(
    r"(?:go to|open|close|take|move|put|clean|heat|cool|use|examine|slice)\s+\w|(?:look|inventory|help)$", re.I
)
_PUT = re.compile(r"put (.+?) (?:in/on|into|onto|in|on|inside) (.+)")
_DRESS = " \t\"'`*_.,;:!“”‘’«»{}[]()<>"
_QUOTES = " \t\"'`*_,{}“”"


@dataclass(frozen=True)
class Reply:
    """thought: on one line, "" for none; command: lower case, as the game writes them."""

    thought: str
    command: str


def read_reply(text: str) -> Reply:
    """The first command in an answer, and what was thought before it. Anything is a reply; one without a command has
    what stands last for it.
    """
    text = text[:_MAX_LETTERS]
    reasoning = ""
    if match := _REASONING.match(text):
        reasoning, text = match[1], match[2]
    before, command = _of_json(text) or _split(_FENCE.sub("", text))
    thought = " ".join(f"{reasoning} {_THOUGHT.sub('', before)}".split()).strip(_QUOTES)
    return Reply(thought[:_MAX_THOUGHT].strip(), clean(command))


def _of_json(text: str) -> tuple[str, str] | None:
    """(thought, command) of an answer that holds one object with an action in it."""
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    told = {str(name).lower(): value for name, value in found.items() if isinstance(value, str)}
    command = told.get("action") or told.get("command")
    return (told.get("thought") or told.get("reasoning") or "", command) if command else None


def _split(text: str) -> tuple[str, str]:
    """(what stands before the command, the line that holds it)."""
    for marker in (_ACTION, _INLINE):
        if match := marker.search(text):
            rest = text[match.end() :].strip().splitlines()
            return text[: match.start()], match[1] if match[1].strip(_DRESS) else next(iter(rest), "")
    lines = [line for line in text.splitlines() if line.strip(_DRESS)]
    if not lines:
        return "", ""
    at = next((i for i, line in enumerate(lines) if _VERB.match(_undressed(line))), len(lines) - 1)
    if _THOUGHT.match(lines[at]):
        return text, ""
    return "\n".join(lines[:at]), lines[at]


def _undressed(line: str) -> str:
    return _BULLET.sub("", _PROMPT.sub("", line)).strip(_DRESS)


def clean(line: str) -> str:
    """A line as the game would write the command in it. `put X in/on Y`, which ALFWorld said before 0.4.0, is `move X
    to Y`.
    """
    command = " ".join(_undressed(line).lower().split())
    command = "".join(c for c in command if c.isprintable())[:_MAX_COMMAND].strip(_DRESS)
    if match := _PUT.fullmatch(command):
        return f"move {match[1]} to {match[2]}"
    return command
