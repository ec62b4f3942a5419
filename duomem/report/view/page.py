"""A view as one HTML file: a template, a style sheet, a script, and the records compressed beside each other.

Tables are cells made here; the script shows them, and unpacks a set's records when somebody looks at them.
"""

from __future__ import annotations

import base64
from pathlib import Path

from duomem.core.files import write_bytes
from duomem.core.html_page import fill, json_block, look, policy, resource, text
from duomem.report.table import COMPARISON_HEAD, CONDITION_HEAD
from duomem.report.view.run import View
from duomem.report.view.score import pairs, scores

_PACKAGE = "duomem.report.view"
_SCRIPTS = ("dom.js", "data.js", "tables.js", "ladder.js", "list.js", "step.js", "player.js", "view.js")
"""In this order, inside one function."""


def write_view(view: View, path: Path) -> None:
    """Write the page to `path`: UTF-8, one file, no reference to another."""
    script = '"use strict";\n(() => {\n' + "".join(resource(_PACKAGE, name) for name in _SCRIPTS) + "})();\n"
    style = look() + resource(_PACKAGE, "view.css")
    parts = {
        "policy": policy(script, style),
        "title": text(f"{view.title}: episodes"),
        "name": text(view.title),
        "style": style,
        "data": json_block(_data(view)),
        "blobs": "\n".join(
            f'<script type="application/gzip" id="{kind}-{number}">{base64.b64encode(blob).decode()}</script>'
            for number, one in enumerate(view.sets)
            for kind, blob in (("records", one.records), ("documents", one.documents))
        ),
        "script": script,
    }
    write_bytes(path, fill(resource(_PACKAGE, "view.html"), parts).encode())


def _data(view: View) -> dict[str, object]:
    return {
        "first": view.first,
        "second": view.second,
        "sets": [
            {
                "name": one.name,
                "facts": list(one.facts.items()),
                "scores": scores(one.episodes),
            }
            for one in view.sets
        ],
        "pairs": pairs(view.sets),
        "ladders": [{"name": name, "panels": panels} for name, panels in view.ladders],
        "heads": {"conditions": CONDITION_HEAD, "comparisons": COMPARISON_HEAD},
    }
