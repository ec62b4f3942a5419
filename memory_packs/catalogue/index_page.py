"""The page that shows a catalogue in a browser: one HTML file without scripts, everything in it escaped.

It is for people: clients read the signed metadata, never this.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from duomem.memory_packs.catalogue.entry import Entry

INDEX = "index.html"
_HEAD = ("name", "kind", "version", "memories", "kB", "licence", "author", "for", "SHA-256")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ddd;"
    "vertical-align:top}td.n{text-align:right}code{font-size:.85em;overflow-wrap:anywhere}"
)


def index_page(entries: Sequence[Entry], roots: Sequence[str], expires: str) -> str:
    """The page. entries: in the order to show. roots: ids of the root keys. expires: a date."""
    rows = "\n".join(map(_row, entries)) or f'<tr><td colspan="{len(_HEAD)}">Nothing yet.</td></tr>'
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    keys = ", ".join(f"<code>{escape(key)}</code>" for key in roots)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Memory packs and students</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<h1>Memory packs and students</h1>\n"
        "<p>Add this catalogue with <code>duomem pack catalogue add ADDRESS --root root.json</code>, then "
        "<code>duomem pack pull NAME</code>; for an adapter or a bundle <code>duomem student pull NAME</code>. "
        "Get root.json from the keeper, not from here. "
        "This page is not signed.</p>\n"
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
        f"<p>Root keys: {keys}. To be signed again by {escape(expires)}.</p>\n</body>\n</html>\n"
    )


def _row(entry: Entry) -> str:
    name, version = escape(entry.name), escape(entry.version)
    made_for = escape(", ".join(entry.task_types) or " ".join(filter(None, (entry.model, entry.system, entry.arch))))
    folder, _, file = entry.path.rpartition("/")
    link = escape(f"targets/{folder}/{entry.sha256}.{file}", quote=True)
    return (
        f'<tr><td>{name}</td><td>{entry.kind}</td><td><a href="{link}">{version}</a></td>'
        f'<td class="n">{entry.entries or ""}</td>'
        f'<td class="n">{entry.size / 1000:.0f}</td><td>{escape(entry.licence)}</td><td>{escape(entry.author)}</td>'
        f"<td>{made_for}</td><td><code>{escape(entry.sha256)}</code></td></tr>"
    )
