"""Damage with intent: seeded changes of bytes, lines and JSON values, towards what readers get wrong."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

_BYTES = [
    b"\x00",
    b"\xff",
    b"\x1b[2J",
    b"\xc2\x9b",
    b"\xe2\x80\xae",
    b"\n",
    b"9" * 5000,
    b"[" * 2000,
    b"A" * 9000,
    b"../",
]
_TEXTS = [
    "",
    " ",
    "\x1b[2J",
    "\x9b",
    "\u202e",
    "\ud800",
    "../x",
    "/etc/passwd",
    "9" * 5000,
    "a" * 100_000,
    "%s{}",
    "\0",
]
_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1 << 31,
    1 << 64,
    10**300,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [{}],
    [None] * 5000,
    {"type": "Sequence"},
    *_TEXTS,
]


def change_bytes(data: bytes, random: Random) -> bytes:
    """1 to 6 places flipped, cut out, repeated, put in, or the end cut off."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(changed) + 1)
        how = random.randrange(5)
        if how == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif how == 1:
            del changed[at : at + random.choice([1, 2, 4, 64, 5000])]
        elif how == 2:
            changed[at:at] = changed[at : at + random.choice([1, 16, 512, 5000])] * random.choice([1, 2, 20])
        elif how == 3:
            changed[at:at] = random.choice(_BYTES)
        elif random.random() < 0.3:
            del changed[at:]
        else:
            changed[at : at + 4] = random.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", random.randbytes(4)])
    return bytes(changed)


def change_text(text: str, random: Random) -> str:
    """As change_bytes, by lines and words."""
    words = text.split(" ")
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(words) + 1)
        how = random.randrange(4)
        if how == 0:
            del words[at : at + random.choice([1, 3])]
        elif how == 1:
            words[at:at] = words[at : at + random.choice([1, 9])] * random.choice([1, 50])
        elif how == 2:
            words[at:at] = [random.choice(_TEXTS)]
        else:
            words[at : at + 1] = [str(random.choice(_VALUES))[:6000]]
    return " ".join(words)


def change_json(value: Any, random: Random) -> Any:
    """A copy with 1 to 4 values somewhere in it exchanged, removed, repeated or nested."""
    changed = copy.deepcopy(value)
    for _ in range(random.randint(1, 4)):
        places: list[tuple[Any, Any]] = []
        _gather(changed, places)
        if not places:
            break
        where, key = random.choice(places)
        how = random.randrange(6)
        if how == 0:
            del where[key]
        elif how == 1 and isinstance(where, dict):
            where[random.choice([*where, "x", *_TEXTS])] = where[key]
        elif how == 1:
            where[key:key] = [where[key]] * random.choice([1, 3, 500])
        elif how == 2:
            where[key] = copy.deepcopy(random.choice(places)[0])
        elif how == 3 and isinstance(where[key], str):
            where[key] = change_text(where[key], random)
        elif how == 4 and isinstance(where[key], (int, float)):
            where[key] = where[key] * random.choice([-1, 2, 1000]) + random.choice([-1, 1, 0.5])
        else:
            where[key] = copy.deepcopy(random.choice(_VALUES))
    return changed


def _gather(value: Any, places: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value[:200])
    else:
        return
    for key, inner in items:
        places.append((value, key))
        _gather(inner, places)


def as_json(value: Any) -> bytes:
    """JSON bytes, lone surrogates as escapes."""
    return json.dumps(value).encode()
