"""One SKILL.md of the Agent Skills format (agentskills.io/specification): written, and read as hostile.

A skill is read for its words alone: whatever brings code, asks for tools or hides text is refused by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.reading import open_regular

FILE = "SKILL.md"
NAME_LIMIT = 64
DESCRIPTION_LIMIT = 1024
STEP_LIMIT = 200
"""Letters of a step that are read; what follows them is left out."""

_FILE_LIMIT = 64 << 10
_ENTRIES_LIMIT = 200
_DEPTH_LIMIT = 3
_FIELDS = {"name": NAME_LIMIT, "description": DESCRIPTION_LIMIT, "license": 500, "compatibility": 500}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KEY = re.compile(r"( *)([A-Za-z0-9][A-Za-z0-9_.-]*):(?: +(.*))?")
_NOT_PLAIN = re.compile(r"""[\[\]{}>|*&!%#`@,?"'-]|.*(: |:$| #)""")
_FENCE = re.compile(r"[ >]*(?:[-*+] +|\d+[.)] +)?(```+|~~~+)(.*)")
_HEADING = re.compile(r"(#{1,6}) +(.+)")
_ITEM = re.compile(r" *(?:(\d{1,4})[.)]|[-*+]) +(?:\[[ xX]\] +)?(.*)")
_MARKS = re.compile(r"\\([\\`*<>\[\]#~])|\*\*|`|!?\[([^\[\]]{0,300})\]\([^()]{0,300}\)")
_TO_ESCAPE = re.compile(r"[\\`*<>\[\]#~]")
_PROSE = frozenset(("", "text", "txt", "plaintext", "markdown", "md"))
_TEXT_FILES = frozenset((".md", ".txt", ".json", ".csv", ".png", ".jpg", ".jpeg"))
_BARE_FILES = frozenset(("LICENSE", "LICENCE", "NOTICE", "README", "AUTHORS"))


@dataclass(frozen=True)
class Section:
    """A heading, the text below it, and the items of its numbered and of its bulleted lists, without marks."""

    title: str
    text: str
    numbered: tuple[str, ...]
    bulleted: tuple[str, ...]


@dataclass(frozen=True)
class Skill:
    """What a SKILL.md says. sections: the first one is what stands before any heading, with the title ""."""

    name: str
    description: str
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()

    def front_matter(self) -> str:
        """Its fields as the YAML block that a SKILL.md begins with."""
        named = {key: value for key in _FIELDS if (value := getattr(self, key))}
        lines = [f"{key}: {value if key == 'name' else _quoted(value)}" for key, value in named.items()]
        if self.metadata:
            lines += ["metadata:", *(f"  {key}: {_quoted(value)}" for key, value in self.metadata.items())]
        return "\n".join(["---", *lines, "---", ""])


def read_skill(path: Path) -> Skill:
    """Read a SKILL.md, and look at the names of the files beside it.

    path: a file SKILL.md in the skill's own folder. Raises PackError naming the file, the line and the fault: for code
    (scripts/, executables, files that are no text, code blocks in another language than words), for what a reader
    does not see (HTML comments, invisible characters), and for front matter beyond `key: value` lines and one level
    of `metadata:`.
    """
    text = _read(path)
    _refuse_code_beside(path.parent)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.isprintable():
            raise PackError(f"{path}: line {number} holds characters that are not shown: remove them")
        if "<!--" in line:
            raise PackError(f"{path}: line {number} holds an HTML comment, which a reader does not see: remove it")
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if lines[0].rstrip() != "---" or end is None:
        raise PackError(f"{path}: does not begin with front matter between two lines ---: not an Agent Skill")
    fields, metadata = _front_matter(lines[1:end], path)
    for key, limit in _FIELDS.items():
        if len(fields.get(key, "")) > limit:
            raise PackError(f"{path}: field {key} is longer than {limit} characters: shorten it")
    name = fields.get("name", "")
    if not _NAME.fullmatch(name):
        raise PackError(f"{path}: field name is not lowercase letters, digits and single hyphens: mend it")
    if name != path.absolute().parent.name:
        raise PackError(
            f"{path}: field name is {name!r}: a skill is in a folder of its name, put it into {name}/{FILE}"
        )
    if not fields.get("description"):
        raise PackError(f"{path}: field description is missing: say what the skill is for")
    sections = _sections(lines[end + 1 :], end + 2, path)
    return Skill(
        name, fields["description"], fields.get("license", ""), fields.get("compatibility", ""), metadata, sections
    )


def escaped(text: str) -> str:
    """A line of plain text as Markdown that reads back as the same."""
    return _TO_ESCAPE.sub(r"\\\g<0>", text)


def _read(path: Path) -> str:
    if path.name != FILE:
        raise PackError(f"{path}: not a {FILE}: only these are read")
    try:
        with open_regular(path) as f:
            data = f.read(_FILE_LIMIT + 1)
    except OSError as e:
        raise PackError(f"{path}: cannot read this skill: {e.strerror or e}") from None
    if len(data) > _FILE_LIMIT:
        raise PackError(f"{path}: larger than {_FILE_LIMIT} bytes: a skill is a page of text, shorten it")
    try:
        return data.decode().replace("\r\n", "\n").replace("\t", "    ")
    except UnicodeDecodeError:
        raise PackError(f"{path}: is not UTF-8 text: not an Agent Skill") from None


def _refuse_code_beside(folder: Path) -> None:
    """PackError for a file below the skill's folder that is or may be code; files are not opened."""
    seen = 0
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as e:
            raise PackError(f"{here}: cannot look into this skill: {e.strerror or e}") from None
        seen += len(entries)
        if seen > _ENTRIES_LIMIT or depth > _DEPTH_LIMIT:
            raise PackError(f"{folder}: holds more than {_ENTRIES_LIMIT} files, or folders in folders: not one skill")
        for entry in entries:
            name = str(Path(entry.path).relative_to(folder))
            if entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
                raise PackError(f"{folder}: {name!r} is no plain file: copy the skill without it")
            if entry.is_dir():
                if entry.name == "scripts":
                    raise PackError(f"{folder}: {name!r} holds code: skills are imported as text only, remove it")
                waiting.append((Path(entry.path), depth + 1))
            elif entry.stat().st_mode & 0o111:
                raise PackError(f"{folder}: {name!r} is executable: skills are imported as text only, remove it")
            elif Path(name).suffix.lower() not in _TEXT_FILES and entry.name not in _BARE_FILES:
                raise PackError(f"{folder}: {name!r} may be code: skills are imported as text only, remove it")


def _front_matter(lines: Sequence[str], path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The fields, and those below `metadata:`."""
    fields: dict[str, str] = {}
    metadata: dict[str, str] = {}
    inside, depth = False, ""
    for number, line in enumerate(lines, 2):
        if not line.strip() or line.startswith("#"):
            continue
        match = _KEY.fullmatch(line.rstrip())
        if match is None:
            raise PackError(f"{path}: line {number} is no line `key: value`: write it as one, in quotes")
        indent, key, value = match.groups()
        where = f"{path}: line {number}: field {key}"
        below = bool(indent)
        depth = depth or indent
        if below and (not inside or indent != depth):
            raise PackError(f"{where} is indented, which only fields of metadata are, all alike: write it as one line")
        if not below and key not in (*_FIELDS, "metadata"):
            raise PackError(f"{where} is none of {', '.join(_FIELDS)} and metadata: remove it")
        target = metadata if below else fields
        if key in target or (key == "metadata" and inside):
            raise PackError(f"{where} stands there twice: remove one")
        if not below and key == "metadata":
            if value:
                raise PackError(f"{where} is not a list of indented lines `key: value`: write it as one")
            inside = True
            continue
        inside = inside and below
        target[key] = _scalar(value or "", where)
    return fields, metadata


def _scalar(text: str, where: str) -> str:
    """A YAML scalar on one line: plain, or in quotes without escapes other than '' in single ones."""
    text = text.strip()
    inner = text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == '"' and not set('"\\') & set(inner):
        return inner
    if len(text) > 1 and text[0] == text[-1] == "'" and "'" not in inner.replace("''", ""):
        return inner.replace("''", "'")
    if _NOT_PLAIN.match(text):
        raise PackError(f"{where} is not plain text on one line: put it into single quotes, ' in it written ''")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _sections(lines: Sequence[str], first: int, path: Path) -> tuple[Section, ...]:
    """The parts of the Markdown text; `first`: number of its first line."""
    parts: list[tuple[str, list[str], list[str], list[str]]] = [("", [], [], [])]
    fence = ""
    for number, line in enumerate(lines, first):
        if match := _FENCE.match(line):
            mark, language = match[1], next(iter(match[2].lower().split()), "")
            if fence:
                fence = "" if mark.startswith(fence) and not language else fence
            elif language not in _PROSE:
                raise PackError(
                    f"{path}: line {number} begins code ({language[:40]}): only text is imported, remove it"
                )
            else:
                fence = mark
        elif fence:
            continue
        elif match := _HEADING.fullmatch(line):
            parts.append((_plain(match[2].rstrip(" #")), [], [], []))
        elif match := _ITEM.fullmatch(line):
            items = parts[-1][2] if match[1] else parts[-1][3]
            items.append(_cut(_plain(match[2])))
        elif line.strip():
            parts[-1][1].append(_plain(line))
    return tuple(
        Section(title, " ".join(text), tuple(filter(None, numbered)), tuple(filter(None, bulleted)))
        for title, text, numbered, bulleted in parts
    )


def _cut(text: str) -> str:
    return text if len(text) <= STEP_LIMIT else text[:STEP_LIMIT].rpartition(" ")[0] or text[:STEP_LIMIT]


def _plain(text: str) -> str:
    """Markdown on one line without its marks: bold, code, links, backslashes."""
    return _MARKS.sub(lambda match: match[1] or match[2] or "", text).strip()
