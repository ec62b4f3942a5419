"""examples/read_pack.py, a reader of its own, finds in a pack what ours does."""

from __future__ import annotations

import runpy
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.manifest import Evaluation, Release
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_pack.py"
MEMORY = Memory("put a mug in desk.", "pick_and_place_simple", "mug", "desk", ("take mug", "naïve"), "f" * 64, "g")
MEMORIES = [replace(MEMORY, others=(("a", "b"),)), replace(MEMORY, object_type="pen", phrasings=("stow a pen",))]


def test_it_is_short_and_needs_nothing_but_python() -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) < 100 and "duomem." not in text.replace('duomem.")', "")


@pytest.mark.parametrize(
    "lexicon", [None, Lexicon([["a"], ["mug"], ["desk"]], {"cup": [1, 2]})], ids=["plain", "words"]
)
def test_both_readers_agree(tmp_path: Path, lexicon: Lexicon | None, capsys: pytest.CaptureFixture[str]) -> None:
    row = Evaluation.of("matcher", "train", "template", "baseline", "no memory", 3, 1)
    release = Release(licence="MIT", evaluations=(row,))
    pack = write_pack(tmp_path / "a.dmpack", "mine", "expert/1", "", MEMORIES, lexicon, release)
    example = runpy.run_path(str(EXAMPLE))
    manifest, entries, content = example["read"](tmp_path / "a.dmpack")
    assert content == pack.content_digest and manifest["name"] == "mine"
    assert [example["entry_id"](entry) for entry in entries] == [m.id for m in pack.memories]
    example["main"](tmp_path / "a.dmpack", list(MEMORY.triple))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "mine 0.1.0, 2 entries, licence MIT" and said[2] == "1 of 3 won, train, no memory"
    assert said[3:] == [f"{MEMORY.id}  2 games  {MEMORY.text()}"]


def test_what_it_refuses(tmp_path: Path) -> None:
    read = runpy.run_path(str(EXAMPLE))["read"]
    write_pack(tmp_path / "a.dmpack", "mine", "expert/1", "", MEMORIES)
    with zipfile.ZipFile(tmp_path / "a.dmpack") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for changes, said in (
        ({"memories.jsonl": members["memories.jsonl"].replace(b"mug", b"cup")}, "not what the manifest describes"),
        ({"memories.jsonl": bytes(9 << 20)}, "unpacks to more than"),
        ({"manifest.json": members["manifest.json"].replace(b'"schema": 3', b'"schema": 2')}, "schema 2 is not 3"),
        ({"code.py": b""}, "other files"),
    ):
        with zipfile.ZipFile(tmp_path / "b.dmpack", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in (members | changes).items():
                archive.writestr(name, data)
        with pytest.raises(ValueError, match=said):
            read(tmp_path / "b.dmpack")
