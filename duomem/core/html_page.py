"""What all pages share: one look, a template's places, and a policy that runs one script and loads nothing.

Whatever a page shows is text in it: escaped, or in JSON that no element ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from duomem.core.errors import printable

_PLACE = re.compile(r"\{\{(\w+)\}\}")


def look() -> str:
    """The style sheet of every page: its colours, light and dark, and plain elements."""
    return resource("duomem.core", "html_page.css")


def resource(package: str, name: str) -> str:
    """The text of a file of a package."""
    return (files(package) / name).read_text(encoding="utf-8")


def fill(template: str, parts: Mapping[str, str]) -> str:
    """The template with `parts`, which are HTML, at their {{places}}. Raises KeyError for a place without a part."""
    return _PLACE.sub(lambda match: parts[match[1]], template)


def policy(script: str | None, style: str | None) -> str:
    """A Content-Security-Policy that runs `script` alone, or nothing, and loads nothing. style: the one style sheet
    there is, None where elements have styles of their own.
    """
    styles = "'unsafe-inline'" if style is None else _source(style)
    scripts = "" if script is None else f" script-src {_source(script)};"
    return f"default-src 'none'; style-src {styles};{scripts} base-uri 'none'; form-action 'none'"


def json_block(value: Any) -> str:
    """JSON that may stand in a script element. Raises ValueError for a number that JSON has not."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def text(value: object) -> str:
    """Escaped, on one line, and without what controls a terminal or turns the direction of writing."""
    return escape(printable(" ".join(str(value).split())))


def _source(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
