"""The README and docs/: links that resolve, lengths that hold, the field's words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "shipped/README.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
NOTEBOOK = ROOT / "docs" / "log"
OLD_WORDS = re.compile(
    r"\bta[b]u|stum[b]l|\bin va[i]n\b|\b[r]ungs?\b|\bladder\b|\bmade-[u]p\b|\binvented\b|\bspoilt\b|KitWorld", re.I
)
"""Names of earlier checkouts; in brackets where a search for them shall not find this line."""
MAX_README_WORDS = 900
MAX_WORDS_BEFORE_HEADING = 80
MAX_RESULT_LINES = 150


def name_of(page: Path) -> str:
    """The page's path as a test id."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without what code blocks and code spans hold, in which [x](y) is no link."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(page: Path) -> set[str]:
    """What GitHub lets a link to a heading of the page end in."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def words(text: str) -> int:
    """Words of a Markdown text, code included, addresses of links not."""
    return len(re.findall(r"\w+(?:[-'.,/]\w+)*", re.sub(r"\]\([^)]*\)", "]", text)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), f"{name_of(page)}: {target} does not exist"
        if anchor:
            assert anchor in anchors(linked), f"{name_of(page)}: {target} is no heading"


@pytest.mark.parametrize("page", [p for p in PAGES if NOTEBOOK not in p.parents], ids=name_of)
def test_no_old_words(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # which says what they are called now
        assert OLD_WORDS.findall(re.sub(r"\]\([^)]*\)", "]", page.read_text(encoding="utf-8"))) == []


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    title, _, body = text.partition("\n")
    assert title.startswith("# ")
    assert words(body.partition("\n## ")[0]) <= MAX_WORDS_BEFORE_HEADING
    assert len(text.split()) <= MAX_README_WORDS and words(text) <= MAX_README_WORDS


def test_the_results_are_short() -> None:
    assert len((ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()) <= MAX_RESULT_LINES


def test_every_page_is_linked_from_the_readme_or_a_linked_page() -> None:
    seen, todo = set(), [README]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        files = (target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+\.md[^)\s]*)\)", prose(page)))
        todo += [(page.parent / file).resolve() for file in files if file and ":" not in file]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= seen
