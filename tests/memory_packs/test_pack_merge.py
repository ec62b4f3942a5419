"""Two packs are told apart by what their entries say, and merged without losing an entry or where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.manifest import Evaluation, Release
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.merge import diff_packs, merge_packs
from duomem.memory_packs.pack import read_pack, write_pack

A, B, C = (
    Memory(f"put a {thing} in desk.", "pick_and_place_simple", thing, "desk", (f"take {thing}",), thing, "g")
    for thing in ("mug", "pen", "egg")
)
LEXICONS = [Lexicon([["pick_and_place_simple"], ["mug", "pen"], ["desk"]], {"": [0, n]}) for n in (1, 2)]
CARD = (Evaluation.of("matcher", "train", "template", "baseline", "no memory", 2, 1),)


@pytest.fixture
def packs(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "a.dmpack", tmp_path / "b.dmpack"
    ours = Release(version="1.0.0", licence="MIT", upstream_licences=("MIT",), k=3, evaluations=CARD)
    theirs = Release(licence="Apache-2.0", upstream_licences=("MIT", "CC0-1.0"), k=2, prompt_version=2)
    write_pack(first, "a", "expert/1", "1" * 64, [A, B], LEXICONS[0], ours)
    write_pack(second, "b", "student:x", "2" * 64, [C, replace(B, game="other")], LEXICONS[1], theirs)
    return first, second


def test_what_another_pack_has(packs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = diff_packs(*packs)
    assert (found.added, found.removed) == ((C,), (A,)) and [m.id for m in found.same] == [B.id]
    assert found.provenance == 1 and found.lexicon and "licence" in found.said and "environment" not in found.said
    itself = diff_packs(packs[0], packs[0])
    assert (itself.added, itself.removed, itself.same) == ((), (), (A, B))
    assert (itself.provenance, itself.lexicon, itself.said) == (0, False, ())
    assert main(["pack", "diff", *map(str, packs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"+ {C.id}  {C.text()}", f"- {A.id}  {A.text()}"]
    assert lines[2].startswith(
        "1 added, 1 removed, 1 same, 1 of these from other games; lexicon changed; manifest: name"
    )


def test_both_as_one(packs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "m.dmpack"
    merged = merge_packs(*packs, out, "both", "2.0.0")
    assert merged.digest == read_pack(out).digest and (merged.name, merged.version) == ("both", "2.0.0")
    assert merged.memories == (A, replace(B, others=(("other", "g"),)), C)
    assert merged.lexicon is not None and merged.lexicon.to_json() == LEXICONS[0].to_json()
    assert (merged.licence, merged.upstream_licences) == ("MIT AND Apache-2.0", ("MIT", "CC0-1.0"))
    assert (merged.teacher.kind, merged.teacher.id) == ("several", "expert/1, student:x")
    assert merged.evaluations == () and merged.prompt_version is None and merged.k == 3
    first = out.read_bytes()
    merge_packs(*packs, out, "both", "2.0.0")
    assert out.read_bytes() == first


def test_a_pack_merged_with_itself_plays_the_same(packs: tuple[Path, Path], tmp_path: Path) -> None:
    merged = merge_packs(packs[0], packs[0], tmp_path / "m.dmpack", "a")
    before = read_pack(packs[0])
    assert merged.content_digest == before.content_digest and merged.teacher == before.teacher
    assert (merged.licence, merged.source) == ("MIT", before.source)


def test_a_lexicon_is_taken_from_the_pack_that_has_one(packs: tuple[Path, Path], tmp_path: Path) -> None:
    write_pack(tmp_path / "plain.dmpack", "plain", "expert/1", "", [A])
    command = ["pack", "merge", str(tmp_path / "plain.dmpack"), str(packs[1]), "--out", str(tmp_path / "m.dmpack")]
    assert main(command) == 0
    merged = read_pack(tmp_path / "m.dmpack")
    assert merged.lexicon is not None and merged.lexicon.to_json() == LEXICONS[1].to_json() and merged.name == "m"
