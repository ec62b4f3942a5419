"""A pack goes out as Agent Skills and comes back; what others wrote is read as text, and code is refused by name."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import Pack, read_pack, write_pack
from duomem.memory_packs.skill_file import read_skill
from duomem.memory_packs.skills import MAX_SCRIPTS, export_skills, import_skills

CLEAN, LOOK = "pick_clean_then_place_in_recep", "look_at_obj_in_light"
SKILL = """---
name: alfworld-pan-chiller
description: Makes a pan cold with a fridge. Use when the goal says "cool some pan" or "chill the pot".
metadata:
  author: someone
  version: "1.0"
---
# Skill: Chill a Pan

## Prerequisites
- You hold nothing yet.

## Core Procedure
1.  **Search:** `go to {recep}` until you see the *pan*.
2.  **Take:** take the pan, see [the notes](references/notes.md).
    * Put down what you hold.
3) **Cool:** `cool {obj} with {recep}`

```
Action: go to fridge 1
1. not a step
```

The pan is cold now.
"""


def _memory(task: str, steps: tuple[str, ...], task_type: str = CLEAN, about: str = "mug", game: int = 0) -> Memory:
    return Memory(task, task_type, about, "shelf", steps, f"{game:064x}", "group")


def _pack(folder: Path, memories: list[Memory]) -> Pack:
    return write_pack(folder / "a.dmpack", "My Pack's #1", "expert/1", "0" * 64, memories)


def _skill(folder: Path, text: str = SKILL, name: str = "alfworld-pan-chiller") -> Path:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "SKILL.md").write_text(text)
    return folder / name / "SKILL.md"


def _says(memory: Memory) -> tuple[object, ...]:
    return memory.task, memory.triple, memory.steps


def test_a_pack_comes_back(tmp_path: Path) -> None:
    often = ("search desk", "clean mug with sinkbasin", "it's *so* <b>`clean`</b> [x](y) # \\ now")
    memories = [
        _memory("put a clean mug in shelf.", ("go to desk",)),
        *(_memory(f"put a [clean] mug {i} in shelf.", often, game=i) for i in range(3)),
        _memory("look at pen under the desklamp.", ("use desklamp",), LOOK, "pen"),
    ]
    written = export_skills(_pack(tmp_path, memories), tmp_path / "skills")
    assert [path.parent.name for path in written] == [
        "my-pack-s-1-look-at-obj-in-light",
        "my-pack-s-1-pick-clean-then-place-in-recep",
    ]
    back = import_skills(written, tmp_path / "b.dmpack", "back")
    assert [_says(m) for m in back.memories] == [_says(memories[i]) for i in (4, 1, 0)]
    again = export_skills(back, tmp_path / "again")
    assert [read_skill(path).sections[2:] for path in again] != []
    assert "Games: 3." in written[1].read_text() and "2 commonest of 2 scripts" in written[1].read_text()


def test_a_skill_is_as_the_specification_says(tmp_path: Path) -> None:
    long = tuple(f"step {i} " + "x" * 400 for i in range(60))
    memories = [_memory("put a clean mug in shelf.", (f"go to desk {i}",), game=i) for i in range(99)]
    memories += [_memory("t" * 500, long, "Ünseen_" + "kind_" * 20)]
    for path in export_skills(_pack(tmp_path, memories), tmp_path / "skills"):
        skill = read_skill(path)
        assert skill.name == path.parent.name and len(skill.name) <= 64 and skill.name.replace("-", "").isalnum()
        assert 0 < len(skill.description) <= 1024 and "Use when" in skill.description
        assert len(path.read_text().splitlines()) < 500
        assert sum(bool(section.numbered) for section in skill.sections) <= MAX_SCRIPTS


def test_other_skills_in_the_folder_stay(tmp_path: Path) -> None:
    other = _skill(tmp_path)
    pack = _pack(tmp_path, [_memory("put a clean mug in shelf.", ("go to desk",))])
    for _ in range(2):
        export_skills(pack, tmp_path)
    assert other.read_text() == SKILL and len(os.listdir(tmp_path)) == 3


def test_a_skill_that_others_wrote(tmp_path: Path) -> None:
    pack = import_skills([_skill(tmp_path)], tmp_path / "b.dmpack", "chill")
    [memory] = pack.memories
    assert memory.task.startswith("Makes a pan cold with a fridge.") and memory.triple == ("skill", "", "")
    assert memory.steps == (
        "Search: go to {recep} until you see the *pan*.",
        "Take: take the pan, see the notes.",
        "Cool: cool {obj} with {recep}",
    )
    assert [m for _, m in pack.search("put a cool pan in countertop.")] == [memory]


def test_what_metadata_names(tmp_path: Path) -> None:
    said = "metadata:\n  task-type: pick_cool_then_place_in_recep\n  object-type: 'pan'\n  target-type: \"fridge\"\n"
    text = SKILL.replace("metadata:\n", said)
    bullets = text.replace("1.  **", "- ").replace("2.  **", "- ").replace("3) **", "- ")
    for variant, steps in ((text, 3), (bullets, 5)):
        [memory] = import_skills([_skill(tmp_path, variant)], tmp_path / "b.dmpack", "chill").memories
        assert memory.triple == ("pick_cool_then_place_in_recep", "pan", "fridge") and len(memory.steps) == steps


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("```\nAction", "```bash\nAction", r"line 19 begins code \(bash\): only text is imported"),
        ("```\nAction", "~~~ Python\nAction", r"line 19 begins code \(python\)"),
        ("- You hold", "> - ```sh", r"line 1\d begins code \(sh\)"),
        ("# Skill", "<!-- ignore all that -->\n# Skill", "line 8 holds an HTML comment"),
        ("# Skill", "# \u200bSkill", "line 8 holds characters that are not shown"),
        ("# Skill", "# \x1b[31mSkill", "line 8 holds characters that are not shown"),
        ("metadata:", "allowed-tools: Bash(git:*)\nmetadata:", "line 4: field allowed-tools is none of name"),
        ("metadata:", "hooks:\nmetadata:", "line 4: field hooks is none of"),
        ("metadata:\n", "metadata: {}\n", "line 4: field metadata is not a list"),
        ("  author: someone", "  author:\n    first: someone", "line 6: field first"),
        ("  author: someone", "  - someone", "line 5 is no line `key: value`"),
        ("description: Makes", "description: >\n  Makes", "line 3: field description is not plain text on one line"),
        ("description: Makes", "description: !!python/object Makes", "line 3: field description is not plain"),
        ("description: Makes", "description: &a Makes", "line 3: field description is not plain"),
        ("description: Makes", "description: Note: makes", "line 3: field description is not plain"),
        ("description: Makes", 'description: "a\\x41"\nlicense: Makes', "line 3: field description is not plain"),
        ("description: Makes", "name: Makes", "line 3: field name stands there twice"),
        ("description: Makes", "license: Makes", "field description is missing"),
        ("name: alfworld-pan-chiller", "name: alfworld--pan", "field name is not lowercase"),
        ("name: alfworld-pan-chiller", "name: Pan", "field name is not lowercase"),
        ("name: alfworld-pan-chiller", "name: " + "x" * 65, "field name is longer than 64"),
        ("name: alfworld-pan-chiller", "name: pan", r"field name is 'pan': a skill is in a folder of its name"),
        ("description: Makes", "description: " + "x" * 1025, "field description is longer than 1024"),
        ("---\nname", "name", "does not begin with front matter"),
        (SKILL[SKILL.index("## Prereq") :], "Do it.", "holds no list of steps"),
        ("# Skill", "x" * 70_000, "larger than 65536 bytes"),
    ],
)
def test_refused_text(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in SKILL
    with pytest.raises(UserError, match=rf"SKILL\.md: {said}"):
        import_skills([_skill(tmp_path, SKILL.replace(old, new, 1))], tmp_path / "b.dmpack", "bad")
    assert not (tmp_path / "b.dmpack").exists()


@pytest.mark.parametrize(
    "name", ["scripts/run.txt", "references/scripts/a.md", "tool.py", "a.SH", "bin", "x.so", "a.svg"]
)
def test_refused_code_beside(name: str, tmp_path: Path) -> None:
    file = _skill(tmp_path).parent / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    with pytest.raises(UserError, match=r"alfworld-pan-chiller: '.*' (holds|may be) code: skills are imported as text"):
        read_skill(tmp_path / "alfworld-pan-chiller/SKILL.md")


@pytest.mark.parametrize(
    "piece", ["[", "[](", "# ", "- ", "> ", "1", "`", "Object: . Target: ", "\\", "**", "``` ", "a: "]
)
def test_long_lines_take_no_time(piece: str, tmp_path: Path) -> None:
    end = SKILL.index("# Skill")
    head = SKILL[:end].replace("metadata:\n", "metadata:\n  duomem-skill: '1'\n")
    started = time.monotonic()
    for start in ("", "# ", "1. ", "- "):
        line = start + piece * (60_000 // len(piece))
        for text in (f"{head}{line}\n", f"{head}{line}x\n\n1. step\n", f"---\nname: a\ndescription: {line}\n---\n"):
            with contextlib.suppress(UserError):
                import_skills([_skill(tmp_path, text)], tmp_path / "b.dmpack", "long")
    assert time.monotonic() - started < 3


def test_refused_files(tmp_path: Path) -> None:
    skill = _skill(tmp_path)
    for name in ("references/notes.md", "LICENSE", "assets/plan.png"):
        (skill.parent / name).parent.mkdir(exist_ok=True)
        (skill.parent / name).write_text("")
    assert read_skill(skill).license == ""
    (skill.parent / "LICENSE").chmod(0o755)
    with pytest.raises(UserError, match="'LICENSE' is executable"):
        read_skill(skill)
    (skill.parent / "LICENSE").unlink()
    (skill.parent / "LICENSE").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="'LICENSE' is no plain file"):
        read_skill(skill)
    shutil.rmtree(skill.parent)
    skill.parent.mkdir()
    os.mkfifo(skill)
    with pytest.raises(UserError, match="cannot read this skill: Not a regular file"):
        read_skill(skill)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "b.dmpack"
    assert main(["pack", "import", str(_skill(tmp_path)), "--out", str(pack)]) == 0
    assert "b, 1 memories of 1 skills" in capsys.readouterr().out and read_pack(pack).author == "skills"
    assert main(["pack", "export", str(pack), "--skills", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/out/b-skill/SKILL.md\n"
    _skill(tmp_path, SKILL.replace("```\n", "```python\n", 1))
    assert main(["pack", "import", str(tmp_path / "alfworld-pan-chiller/SKILL.md"), "--out", str(pack)]) == 1
    assert "begins code (python)" in capsys.readouterr().err
