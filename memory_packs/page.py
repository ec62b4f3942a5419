"""A pack as one HTML page: what it is about, what it is worth, and a search over its entries.

Whatever a pack says is text in it: escaped, and under a policy that runs one script and loads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from duomem.core.files import is_sha256, write_bytes
from duomem.core.html_page import fill, json_block, look, policy, resource
from duomem.memory_packs.manifest import Evaluation
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import Pack

_ROWS, _COLUMNS, _TYPES = 80, 40, 40
"""Most objects, targets and task types that are drawn; the search knows all."""
_BINS = 24
_LEVELS = 5


def write_page(pack: Pack, path: Path) -> None:
    """Write the page of `pack` to `path`: UTF-8, one file, no reference to another."""
    script = resource("duomem.memory_packs", "page.js")
    note, table = _map(pack.memories)
    parts = {
        "policy": policy(script, None),
        "style": look() + resource("duomem.memory_packs", "page.css"),
        "title": escape(f"{pack.name}: a memory pack"),
        "name": escape(pack.name),
        "facts": _facts(pack),
        "card": _card(pack.evaluations),
        "types": _bars(Counter(m.task_type for m in pack.memories).most_common(_TYPES)),
        "words": _histogram([len(m.text().split()) for m in pack.memories]),
        "map_note": note,
        "map": table,
        "data": _data(pack.memories),
        "script": script,
    }
    write_bytes(path, fill(resource("duomem.memory_packs", "page.html"), parts).encode())


def _facts(pack: Pack) -> str:
    facts = {
        "version": pack.version,
        "licence": pack.licence,
        "author": pack.author,
        "entries": f"{len(pack.memories):,}",
        "lexicon": "yes, it understands people's words" if pack.lexicon else "none",
        "SHA-256": pack.digest,
    }
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)


def _card(evaluations: Sequence[Evaluation]) -> str:
    """The rows of a pack's card as a table, a column a field."""
    rows = [asdict(one) for one in evaluations]
    if not rows:
        return '<p class="soft">Nobody has measured yet what it is worth: it has no card.</p>'
    names = sorted(rows[0], key=lambda name: isinstance(rows[0][name], str))  # numbers first: a phone shows these
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_value(row[name])}</td>" for name in names) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _value(value: Any) -> str:
    if is_sha256(value):
        return f'<span title="{value}">{value[:12]}</span>'
    return escape(f"{value:.3g}" if isinstance(value, float) else str(value))


def _bars(counts: Iterable[tuple[str, int]]) -> str:
    rows = list(counts)
    most = max((n for _, n in rows), default=1)
    return "".join(
        f"<span>{escape(name).replace('_', '_<wbr>') or 'none'}</span>"
        f'<i style="width:{100 * n / most:.1f}%"></i><b>{n:,}</b>'
        for name, n in rows
    )


def _histogram(lengths: Sequence[int]) -> str:
    """How many entries have so many words, in at most _BINS columns of a round width."""
    if not lengths:
        return '<p class="soft">No entries.</p>'
    low, high = min(lengths), max(lengths)
    width = next(w * 10**e for e in range(9) for w in (1, 2, 5) if high // (w * 10**e) - low // (w * 10**e) < _BINS)
    counts = Counter(n // width for n in lengths)
    bins = range(low // width, high // width + 1)
    most = max(counts.values())
    columns = "".join(
        f'<i style="height:{100 * counts[b] / most:.1f}%" title="{_span(b, width)} words: {counts[b]:,}"></i>'
        for b in bins
    )
    middle = sorted(lengths)[len(lengths) // 2]
    about = f"From {low} to {high} words, half of the entries at most {middle}; the highest column is {most:,} entries."
    return (
        f'<div class="hist" role="img" aria-label="{about}">{columns}</div>'
        f'<div class="axis"><span>{bins[0] * width}</span><span>{bins[-1] * width + width - 1} words</span></div>'
        f'<p class="soft">{about}</p>'
    )


def _span(column: int, width: int) -> str:
    return str(column) if width == 1 else f"{column * width} to {column * width + width - 1}"


def _map(memories: Sequence[Memory]) -> tuple[str, str]:
    """A note and a table: objects down, targets across, and in a cell how many entries are about both."""
    pairs = Counter((m.object_type, m.target_type) for m in memories if m.object_type or m.target_type)
    if not pairs:
        return "No entry says what it is about.", ""
    things = _commonest(pairs, 0, _ROWS)
    targets = _commonest(pairs, 1, _COLUMNS)
    drawn = {pair: n for pair, n in pairs.items() if pair[0] in things and pair[1] in targets}
    most = max(drawn.values())
    head = "".join(f"<th scope=col><span>{escape(target) or 'none'}</span></th>" for target in targets)
    body = "".join(
        f"<tr><th scope=row>{escape(thing) or 'none'}</th>"
        + "".join(_cell(thing, target, drawn.get((thing, target), 0), most) for target in targets)
        + "</tr>"
        for thing in things
    )
    left = len(pairs) - len(drawn)
    note = "How many entries are about an object and where it goes. Choose a cell to see them."
    note += f" The {left:,} rarest pairs are not drawn." if left else ""
    return note, f'<table class="map"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _commonest(pairs: Counter[tuple[str, str]], side: int, limit: int) -> list[str]:
    totals: Counter[str] = Counter()
    for pair, n in pairs.items():
        totals[pair[side]] += n
    return sorted(name for name, _ in totals.most_common(limit))


def _cell(thing: str, target: str, n: int, most: int) -> str:
    if not n:
        return "<td></td>"
    level = 1 + min(_LEVELS - 1, int(_LEVELS * (n - 1) ** 0.5 / most**0.5))
    about = escape(f"{n:,} entries: {thing}, {target}")
    query = escape(" ".join(f"{f}:{v}" for f, v in (("object", thing), ("target", target)) if v and " " not in v))
    return f'<td><button class=l{level} data-q="{query}" title="{about}" aria-label="{about}">{n}</button></td>'


def _data(memories: Sequence[Memory]) -> str:
    """The entries as JSON that may stand in a script element: each text once, and numbers for it."""
    tasks, types, names, steps = _Texts(), _Texts(), _Texts(), _Texts()
    entries = [
        [
            tasks[m.task],
            types[m.task_type],
            names[m.object_type],
            names[m.target_type],
            m.id,
            [steps[step] for step in m.steps],
        ]
        for m in memories
    ]
    tables = {"tasks": list(tasks), "types": list(types), "names": list(names), "steps": list(steps)}
    return json_block({**tables, "entries": entries})


class _Texts(dict[str, int]):
    """Numbers texts in the order they are first asked for."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]
