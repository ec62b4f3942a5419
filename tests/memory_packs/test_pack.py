"""A pack says what was played, is the same bytes each time, and holds train episodes of one player only."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from episodes import episode

from duomem.cli.main import main
from duomem.core.errors import UserError
from duomem.core.files import sha256_file
from duomem.core.trajectory import Step, Trajectory
from duomem.memory_packs.build import build_pack
from duomem.memory_packs.consolidate import count_tokens
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.memory import Memory, memory_from_json
from duomem.memory_packs.memory_format import MEMORY_FORMATS, write_memory
from duomem.memory_packs.pack import read_pack, write_pack

MEMORIES = [
    Memory(
        f"put a clean mug in shelf {c}.",
        "pick_clean_then_place_in_recep",
        "mug",
        "shelf",
        ("go to desk", "take mug"),
        f"{i:064x}",
        f"group-{i}",
    )
    for i, c in enumerate("abc")
]
LEXICON = Lexicon([["pick_clean_then_place_in_recep"], ["mug", "pan"], ["shelf"]], {"cup": [1, 20], "": [0, -3]})


def _trajectory(actions: list[str], **changes: Any) -> Trajectory:
    """An episode in which every action was one the game takes, but those marked with a !."""
    steps = tuple(Step("", () if a.startswith("!") else (a,), a.lstrip("!")) for a in actions)
    played = replace(episode(0), game="f" * 64, group="a-group", intro="", steps=steps, last="")
    return replace(played, **changes)


def _write(path: Path, trajectories: list[Trajectory]) -> Path:
    path.write_text("".join(json.dumps(t.to_json()) + "\n" for t in trajectories))
    return path


def test_same_memories_same_bytes(tmp_path: Path) -> None:
    first = write_pack(tmp_path / "a.dmpack", "name", "expert/1", "0" * 64, MEMORIES)
    os.utime(tmp_path / "a.dmpack", (0, 0))
    second = write_pack(tmp_path / "b.dmpack", "name", "expert/1", "0" * 64, list(MEMORIES))
    assert (tmp_path / "a.dmpack").read_bytes() == (tmp_path / "b.dmpack").read_bytes()
    assert first == second == read_pack(tmp_path / "a.dmpack")
    assert first.memories == tuple(MEMORIES) and (first.name, first.author) == ("name", "expert/1")
    assert first.digest == sha256_file(tmp_path / "a.dmpack")
    assert write_pack(tmp_path / "b.dmpack", "name", "expert/1", "0" * 64, MEMORIES[::-1]).digest != first.digest


def test_a_lexicon_comes_along(tmp_path: Path) -> None:
    without = write_pack(tmp_path / "a.dmpack", "name", "expert/1", "", MEMORIES)
    for name in ("b", "c"):
        write_pack(tmp_path / f"{name}.dmpack", "name", "expert/1", "", MEMORIES, LEXICON)
    assert (tmp_path / "b.dmpack").read_bytes() == (tmp_path / "c.dmpack").read_bytes()
    pack = read_pack(tmp_path / "b.dmpack")
    assert pack.lexicon is not None and pack.lexicon.to_json() == LEXICON.to_json()
    assert pack.memories == without.memories and pack.digest != without.digest and without.lexicon is None
    for name, members, described in (("a", 2, False), ("b", 3, True)):
        with zipfile.ZipFile(tmp_path / f"{name}.dmpack") as archive:
            assert len(archive.namelist()) == members
            assert ("lexicon" in json.loads(archive.read("manifest.json"))) == described


def test_a_lexicon_that_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.dmpack: lexicon\.json: field weights\.cup has a weight beyond 1000"):
        write_pack(tmp_path / "a.dmpack", "n", "expert/1", "", MEMORIES, Lexicon([["a"], [], []], {"cup": [0, 1001]}))
    assert os.listdir(tmp_path) == []


def test_a_pack_finds_by_meaning(tmp_path: Path) -> None:
    """`cup` is no word of the memories; only the lexicon knows it."""
    assert write_pack(tmp_path / "a.dmpack", "n", "expert/1", "", MEMORIES).search("fetch me that cup") == []
    pack = write_pack(tmp_path / "a.dmpack", "n", "expert/1", "", MEMORIES, LEXICON)
    assert [memory for _, memory in pack.search("fetch me that cup")] == [MEMORIES[0]]


def test_an_empty_pack_is_a_pack(tmp_path: Path) -> None:
    assert write_pack(tmp_path / "a.dmpack", "none", "student:x", "", []).memories == ()


@pytest.mark.parametrize("name", ["two\nlines", "x" * 201, "\ud800", "tab\t"])
def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, name: str) -> None:
    write_pack(tmp_path / "a.dmpack", "good", "expert/1", "", MEMORIES)
    with pytest.raises(UserError, match=r"a\.dmpack: manifest\.json (field name is not a line|is not valid JSON)"):
        write_pack(tmp_path / "a.dmpack", name, "expert/1", "", MEMORIES)
    assert read_pack(tmp_path / "a.dmpack").name == "good" and os.listdir(tmp_path) == ["a.dmpack"]


def test_won_train_episodes_become_memories(tmp_path: Path) -> None:
    won, lost = _trajectory(["go to desk 1", "take mug 1 from desk 1"]), _trajectory(["look"], won=False)
    pack = build_pack(_write(tmp_path / "t.jsonl", [lost, won, lost]), tmp_path / "a.dmpack", "mine")
    assert [m.steps for m in pack.memories] == [("search desk", "take mug from desk")]
    assert pack.author == "expert/1" and pack.source == sha256_file(tmp_path / "t.jsonl")
    assert build_pack(_write(tmp_path / "t.jsonl", [lost]), tmp_path / "b.dmpack", "none").memories == ()


TOLD = ("please bring us that cup over here", "a beaker belongs beside the computer")
ACTIONS = ["go to desk 1", "take mug 1 from desk 1"]


def _episodes(**changes: Any) -> list[Trajectory]:
    """One episode told in the template's words and in two people's, and one of another goal told by a person alone."""
    own = _trajectory(ACTIONS, intro="Around you, you see a desk 1, and a shelf 2.\n\nYour task is to: x", **changes)
    people = [replace(own, goal=goal, goal_source=f"human:{i}") for i, goal in enumerate(TOLD)]
    other = replace(
        people[0], game="e" * 64, target_type="shelf", goal="stow the beaker", template_goal="put a mug in shelf."
    )
    return [own, *people, replace(other, **changes)]


def test_a_game_in_several_peoples_words_is_one_memory(tmp_path: Path) -> None:
    pack = build_pack(_write(tmp_path / "t.jsonl", _episodes()), tmp_path / "a.dmpack", "mine")
    assert [(m.task, m.game) for m in pack.memories] == [
        ("put a mug in desk.", "f" * 64),
        ("put a mug in shelf.", "e" * 64),
    ]
    assert [m.triple[1:] for m in pack.memories] == [("mug", "desk"), ("mug", "shelf")]
    for sentence, target in ((TOLD[0], "desk"), ("stow that", "shelf")):
        assert pack.search(sentence)[0][1].task == f"put a mug in {target}."
    assert pack.lexicon is not None and "shelf" in pack.lexicon.to_json()["weights"]  # of the game's own sentence


def test_no_persons_sentence_is_in_a_pack(tmp_path: Path) -> None:
    build_pack(_write(tmp_path / "t.jsonl", _episodes()), tmp_path / "a.dmpack", "mine")
    with zipfile.ZipFile(tmp_path / "a.dmpack") as archive:
        held = b"\n".join(archive.read(name) for name in archive.namelist()).lower()
    assert b"beaker" in held  # the weights of the words are there
    for sentence in (*TOLD, "stow the beaker"):
        words = sentence.split()
        for i in range(len(words) - 1):
            assert " ".join(words[i : i + 2]).encode() not in held


def test_a_pack_without_some_scenes_or_of_fewer_entries(tmp_path: Path) -> None:
    """Of a scene that is held out, neither memories nor words are read. The same file gives the same bytes."""
    other = replace(_episodes()[3], group="pick-Mug-None-Shelf-301", goal="zymurgy")
    file = _write(tmp_path / "t.jsonl", [*_episodes()[:3], other])
    command = ["pack", "build", str(file), "--out"]
    held = [*command, str(tmp_path / "a.dmpack"), "--hold-out-scene", "301", "--licence", "Apache-2.0"]
    assert main([*held, "--upstream-licence", "MIT", "--version", "0.2.0"]) == 0
    first, pack = (tmp_path / "a.dmpack").read_bytes(), read_pack(tmp_path / "a.dmpack")
    assert [m.task for m in pack.memories] == ["put a mug in desk."]
    assert (pack.version, pack.licence, pack.upstream_licences) == ("0.2.0", "Apache-2.0", ("MIT",))
    assert pack.prompt_version is not None and pack.token_budget == count_tokens(pack.memories[0])
    assert pack.lexicon is not None and "zymurgy" not in pack.lexicon.to_json()["weights"]
    assert main([*held, "--upstream-licence", "MIT", "--version", "0.2.0"]) == 0
    assert (tmp_path / "a.dmpack").read_bytes() == first
    for option, value, left in (("--max-entries", "1", 1), ("--max-entries", "2", 2), ("--max-tokens", "1", 0)):
        assert main([*command, str(tmp_path / "b.dmpack"), option, value]) == 0
        assert len(read_pack(tmp_path / "b.dmpack").memories) == left
    for options in (["--hold-out-scene", "302"], ["--version", "one"], ["--licence", "a b"]):
        assert main([*command, str(tmp_path / "c.dmpack"), *options]) == 1
    assert not (tmp_path / "c.dmpack").exists()


def test_what_is_about_nothing_has_no_lexicon(tmp_path: Path) -> None:
    for n, changes in enumerate(({"object_type": ""}, {"target_type": ""})):
        pack = build_pack(_write(tmp_path / "t.jsonl", _episodes(**changes)), tmp_path / f"{n}.dmpack", "mine")
        assert pack.lexicon is None and pack.memories
    lost = [replace(played, won=False) for played in _episodes()]
    assert build_pack(_write(tmp_path / "t.jsonl", lost), tmp_path / "c.dmpack", "mine").lexicon is None


@pytest.mark.parametrize(
    ("trajectories", "said"),
    [
        ([], "played by nobody"),
        ([_trajectory(["look"]), _trajectory(["look"], player="student:x")], "a pack has one author"),
        (
            [_trajectory(["look"]), _trajectory(["look"], split="valid_seen", won=False)],
            "line 2: field split is 'valid_s",
        ),
        ([_trajectory(["look"], split="valid_unseen")], "line 1: field split is 'valid_unseen'"),
        ([_trajectory(["look"], split="")], "line 1: field split is ''"),
        ([_trajectory(["use lamp 1"], template_goal="a\x1b[31m")], "memories.jsonl line 1: field task is not a line"),
    ],
)
def test_refused_episodes_leave_no_pack(tmp_path: Path, trajectories: list[Trajectory], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_pack(_write(tmp_path / "t.jsonl", trajectories), tmp_path / "a.dmpack", "mine")
    assert os.listdir(tmp_path) == ["t.jsonl"]


@pytest.mark.parametrize(
    ("actions", "steps"),
    [
        (
            ["go to desk 1", "take mug 2 from desk 1", "go to shelf 12", "move mug 2 to shelf 12"],
            ["search desk", "take mug from desk", "go to shelf", "move mug to shelf"],
        ),
        (
            ["go to desk 1", "go to drawer 3", "open drawer 3", "go to drawer 4", "take mug 1 from drawer 4"],
            ["search desk, drawer", "take mug from drawer"],
        ),
        ([f"go to {place} 1" for place in "abcdefg"] + ["use desklamp 1"], ["search a, b, c, d, e", "use desklamp"]),
        (["go to a 1", "go to b 1", "heat egg 1 with microwave 1"], ["go to b", "heat egg with microwave"]),
        (
            ["take mug 1 from desk 1", "examine mug 1", "look", "inventory", "help", "close desk 1", "use desklamp 1"],
            ["take mug from desk", "use desklamp"],
        ),
        (
            ["!take mug 9 from desk 1", "!sing\tsongs", "go to a 1", "use desklamp 1", "!use nothing"],
            ["search a", "use desklamp"],
        ),
        (["go to desk 1", "look"], []),
    ],
)
def test_the_procedure_of_an_episode(actions: list[str], steps: list[str]) -> None:
    assert list(write_memory(_trajectory(actions)).steps) == steps


@pytest.mark.parametrize(
    ("memory_format", "steps"),
    [
        ("script", ["search desk", "take mug from desk"]),
        ("trajectory", ["go to desk 1", "take mug 1 from desk 1"]),
        ("script+trajectory", ["search desk", "take mug from desk", "go to desk 1", "take mug 1 from desk 1"]),
        ("avoid", ["search desk", "take mug from desk", "avoid use desklamp at desk", "avoid go to desk 2"]),
    ],
)
def test_the_forms_of_a_memory(memory_format: str, steps: list[str]) -> None:
    admissible, nothing = ("go to desk 1", "take mug 1 from desk 1"), "Nothing happens."
    played = (
        Step("room", admissible, "go to desk 1"),
        Step("You see.", admissible, "use desklamp 1", is_noise=True),
        Step(nothing, admissible, "go to desk 2", is_noise=True),
        Step(nothing, admissible, "use desklamp 1", is_noise=True),
        Step(nothing, admissible, "take mug 1 from desk 1"),
    )
    memory = write_memory(replace(_trajectory([]), steps=played, last="You pick up."), memory_format)
    assert memory.kind == MEMORY_FORMATS[memory_format] and list(memory.steps) == steps


def test_a_memory_is_cut_to_its_longest(tmp_path: Path) -> None:
    trajectory = _trajectory(["go to desk 1", "take mug 1 from desk 1", "go to shelf 1", "use desklamp 1"])
    _write(tmp_path / "t.jsonl", [trajectory])
    for max_steps, steps in ((1, 1), (3, 3), (99, 4)):
        assert (
            main(
                [
                    "pack",
                    "build",
                    str(tmp_path / "t.jsonl"),
                    "--max-steps",
                    str(max_steps),
                    "--out",
                    str(tmp_path / "p.dmpack"),
                ]
            )
            == 0
        )
        [memory] = read_pack(tmp_path / "p.dmpack").memories
        assert memory.steps == write_memory(trajectory).steps[:steps] and len(memory.steps) == steps


def test_a_memory_as_the_student_reads_it() -> None:
    memory = write_memory(_trajectory(["go to desk 1", "take mug 1 from desk 1"]))
    assert memory.text() == "put a mug in desk. 1. search desk; 2. take mug from desk;"
    assert (memory.task, memory.task_type) == ("put a mug in desk.", "pick_and_place_simple")
    assert (memory.game, memory.group) == ("f" * 64, "a-group")


def test_an_id_is_of_what_is_said() -> None:
    """Not of where it comes from."""
    memory = MEMORIES[0]
    assert memory.id == replace(memory, game="x", group="y", others=(("z", "w"),)).id and len(memory.id) == 16
    changes = {"task": "a", "task_type": "a", "object_type": "a", "target_type": "a", "kind": "avoid"}
    others = [replace(memory, **change) for change in ({k: v} for k, v in changes.items())]
    others += [replace(memory, steps=("look",)), replace(memory, phrasings=("say it so",))]
    assert len({memory.id, *(other.id for other in others)}) == 8


def test_a_memory_without_some_of_its_games() -> None:
    memory = replace(MEMORIES[0], game="a", group="g", others=(("b", "g"), ("c", "h")))
    assert memory.without(("x",), ("y",)) == memory
    for games, groups, left in ((("a",), (), (("b", "g"), ("c", "h"))), ((), ("g",), (("c", "h"),))):
        kept = memory.without(games, groups)
        assert kept is not None and kept.sources == left and kept.id == memory.id
    assert memory.without(("a", "b", "c")) is memory.without(("c",), ("g",)) is None
    assert memory_from_json(memory.to_json(), "here") == memory


@pytest.mark.parametrize(
    "change",
    [
        {"task": 3},
        {"task": "x" * 501},
        {"task": "a\nb"},
        {"task_type": None},
        {"object_type": None},
        {"target_type": "a\nb"},
        {"kind": "code"},
        {"kind": ["script"]},
        {"sources": []},
        {"sources": ["ab"]},
        {"sources": [["a"]]},
        {"sources": [["a", "b", "c"]]},
        {"sources": [[["a"], "b"]]},
        {"sources": [["a", "\u202e"]]},
        {"sources": [["a", "b"]] * 1001},
        {"phrasings": "a"},
        {"phrasings": ["zero\u200bwidth"]},
        {"phrasings": ["a"] * 21},
        {"'code'": "import os"},
        {"task": "zero\u200bwidth"},
        {"steps": []},
        {"steps": "go"},
        {"steps": [1]},
        {"steps": ["a\x00"]},
        {"steps": ["x" * 501]},
        {"steps": ["look"] * 101},
    ],
    ids=lambda change: str(change)[:25],
)
def test_hostile_memories(change: dict[str, Any]) -> None:
    row = json.loads(json.dumps(MEMORIES[0].to_json()))
    assert memory_from_json(row, "here") == MEMORIES[0]
    [field] = change
    with pytest.raises(UserError, match=f"^here: field {field} "):
        memory_from_json(row | {field.strip("'"): change[field]}, "here")
    with pytest.raises(UserError, match=r"^here is not a JSON object"):
        memory_from_json([row], "here")
