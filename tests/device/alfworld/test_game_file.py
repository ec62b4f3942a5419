"""Game files are untrusted: whatever the bytes, load_game gives a playable game or a one-line UserError."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duomem.core.errors import UserError
from duomem.core.files import sha256_file
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import MAX_BYTES, load_game, parse_game

_PATH = Path("some/game.tw-pddl")


def _refused(data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        parse_game(data, _PATH)
    message = str(caught.value)
    assert str(_PATH) in message and "\n" not in message and len(message) < 700
    return message


def _with(path: Path, **changes: Any) -> bytes:
    fields = json.loads(path.read_bytes())
    return json.dumps({**fields, **changes}).encode()


def _edited(path: Path, old: str, new: str) -> bytes:
    """The game with one place of its problem changed."""
    problem = json.loads(path.read_bytes())["pddl_problem"]
    assert old in problem
    return _with(path, pddl_problem=problem.replace(old, new, 1))


def test_reads_what_the_file_says(a_game: Path) -> None:
    game = load_game(a_game)
    fields = json.loads(a_game.read_bytes())
    assert game.path == a_game and game.digest == sha256_file(a_game)
    assert f"Your task is to: {game.task}" in fields["grammar"]
    assert list(game.walkthrough) == fields["walkthrough"]
    assert game.task_type == "pick_clean_then_place_in_recep"
    _, thing, _, target, _ = a_game.parts[-3].split("-")
    assert (game.goal.object_type, game.goal.target_type) == (thing.lower(), target.lower())
    assert game.help.startswith("Available commands:")
    assert "sinkbasintype" in game.cleaning_types


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="cannot read"):
            load_game(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'"game"',
        b"{}",
        b"\xff\xfe{}",
        b"\x00" * 50,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b'{"n": 1e999999}',
        b'{"pddl_domain": "\\ud800"}',
        b" " * (MAX_BYTES + 1),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_not_a_game(data: bytes) -> None:
    _refused(data)


@pytest.mark.parametrize("field", ["pddl_domain", "grammar", "pddl_problem"])
@pytest.mark.parametrize("value", [None, 3, [], {}, "", "(", "x" * 1000, "\ud800", "\u0000"], ids=repr)
def test_wrong_field(a_game: Path, field: str, value: Any) -> None:
    _refused(_with(a_game, **{field: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"walkthrough": "look"},
        {"walkthrough": [1]},
        {"walkthrough": ["look"] * 1001},
        {"walkthrough": ["x" * 501]},
        {"solvable": False},
        {"solvable": "yes"},
    ],
    ids=lambda changes: str(changes)[:30],
)
def test_wrong_walkthrough_or_unsolvable(a_game: Path, changes: dict[str, Any]) -> None:
    assert next(iter(changes)) in _refused(_with(a_game, **changes))


def test_walkthrough_may_be_missing(a_game: Path) -> None:
    assert parse_game(_with(a_game, walkthrough=None), _PATH).walkthrough == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(:init", "(:init (sings agent1)", "'sings'"),
        ("(:init", "(:init (openable agent1)", "openable"),
        ("(:init", "(:init (openable nobody)", "openable"),
        ("(:init", "(:init (openable (agent1))", "openable"),
        ("(:init", "(:init (not (openable agent1))", "'not'"),
        ("(:init", "(:init ()", "not a fact"),
        ("(:init", "(:init word", "not a fact"),
        ("(:init", "(:start", "its parts"),
        ("(:domain alfred)", "(:domain blocks)", "domain alfred"),
        ("(:objects", "(:objects agent2 - agent", "one agent"),
        ("(:objects", "(:objects agent1 - agent", "twice"),
        ("(:objects", "(:objects a/b - object", "not an id"),
        ("(:objects", "(:objects (a) - object", "parentheses"),
        ("(:objects", "(:objects x_bar_1 - receptacle", "receptacle"),
        ("(:objects", "(:objects desk - receptacle", "'desk' is no receptacle's id"),
        ("(:objects", "(:objects _bar_1 - receptacle", "'_bar_1' is no receptacle's id"),
        ("(receptacleAtLocation", "(openable", "wrong types"),
        ("(isClean ?o)", "(isHungry ?o)", "'ishungry'"),
        ("(isClean ?o)", "(isClean ?z)", "isclean"),
        ("(isClean ?o)", "(isClean ?o ?o)", "isclean"),
        ("(isClean ?o)", "(forall (?z - object) (isClean ?z))", "'forall'"),
        ("(isClean ?o)", "(or (isClean ?o))", "'or'"),
        ("(isClean ?o)", "(isClean (?o))", "parentheses"),
        ("(isClean ?o)", "()", "bare word"),
        ("(isClean ?o)", "(isClean ?o) (isHot ?o)", "no ALFWorld task type"),
        ("(isClean ?o)", "(exists (?o - object) (isClean ?o))", "twice"),
        ("(isClean ?o)", "(isClean ?o) (not (= ?o agent1))", "two variables"),
        ("(isClean ?o)", "(isClean ?o) " * 20, "too long"),
        ("(isClean ?o)", "(exists (?a - object ?b - object ?c - object ?d - object) (isClean ?o))", "too large"),
        ("(isClean ?o)", "(" * 80 + "isClean ?o" + ")" * 80, "deeper"),
        ("(inReceptacle ?o ?r)", "(cleanable ?o)", "no ALFWorld task type"),
        ("(:goal", "(:goal (and) (and)", "one goal"),
    ],
)
def test_wrong_problem(a_game: Path, old: str, new: str, said: str) -> None:
    message = _refused(_edited(a_game, old, new))
    assert said in message and "pddl_problem" in message


def test_truncated_anywhere(a_game: Path) -> None:
    data = a_game.read_bytes()
    for end in random.Random(0).sample(range(len(data)), 60):
        _refused(data[:end])


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("pddl_domain", "(not (holdsAny ?a))", ""),
        ("grammar", "You arrive at", "You walk to"),
        ("grammar", "take {o} from {r}", "grab {o} from {r}"),
        ("grammar", "Your task is to: ", "Task: "),
        ("grammar", "Your task is to: ", "Your task is to: #eval# "),
        ("grammar", "Your task is to: ", "Your task is to: {__import__('os')} "),
        ("grammar", "action help {", "action aid {"),
        ("grammar", "#help.feedback#", "#look.feedback#"),
    ],
)
def test_other_rules_are_refused(a_game: Path, field: str, old: str, new: str) -> None:
    text = json.loads(a_game.read_bytes())[field]
    assert old in text
    assert field in _refused(_with(a_game, **{field: text.replace(old, new, 1)}))


@pytest.mark.parametrize(
    "hidden", ["\x1b", "\x9b2J", "\u202e", "\u2066", "\u200b", "\u2028", "\x85", "\r", "\udc80"], ids=ascii
)
@pytest.mark.parametrize("place", ["Your task is to: ", "Available commands:"])
def test_what_steers_a_terminal_is_refused(a_game: Path, hidden: str, place: str) -> None:
    """`play` prints the goal sentence and the help page."""
    grammar = json.loads(a_game.read_bytes())["grammar"]
    if place.startswith("Available"):  # stands in JSON
        hidden = json.dumps(hidden)[1:-1]
    refused = _refused(_with(a_game, grammar=grammar.replace(place, place + hidden, 1)))
    assert "cannot be printed" in refused or "surrogates not allowed" in refused


def _play_a_little(data: bytes) -> None:
    """A file that is accepted must also play without a crash."""
    try:
        game = parse_game(data, _PATH)
    except UserError as e:
        assert "\n" not in str(e)
        return
    env, rng = AlfworldEnv(), random.Random(0)
    seen = env.reset(game)
    for command in (*game.walkthrough, *[None] * 10):
        seen = env.step(rng.choice(seen.admissible) if command is None else command)


_fuzz = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["drop", "twice", "swap", "put"]), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)


def _edit(parts: list[Any], edits: list[tuple[float, str, bytes]], made: Callable[[bytes], Any]) -> list[Any]:
    """Drop, repeat, exchange or insert parts at relative positions."""
    for where, how, value in edits:
        at = min(int(where * len(parts)), len(parts) - 1)
        if how == "drop" and len(parts) > 1:
            del parts[at]
        elif how == "twice":
            parts.insert(at, parts[at])
        elif how == "swap":
            other = value[0] * len(parts) // 256
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts.insert(at, made(value))
    return parts


@_fuzz
@given(edits=_edits)
def test_fuzz_bytes(a_game: Path, edits: list[tuple[float, str, bytes]]) -> None:
    data = [bytes([byte]) for byte in a_game.read_bytes()]
    _play_a_little(b"".join(_edit(data, edits, bytes)))


@_fuzz
@given(edits=_edits, tail=st.booleans())
def test_fuzz_words_of_the_problem(a_game: Path, edits: list[tuple[float, str, bytes]], tail: bool) -> None:
    """Whole words are edited, half of the time only those of the goal."""
    problem = json.loads(a_game.read_bytes())["pddl_problem"]
    cut = problem.index("(:goal") if tail else 0
    words = problem[cut:].replace("(", " ( ").replace(")", " ) ").split()
    words = _edit(words, edits, lambda value: words[value[0] * len(words) // 256])
    _play_a_little(_with(a_game, pddl_problem=problem[:cut] + " ".join(words)))


@_fuzz
@given(
    field=st.sampled_from(["pddl_domain", "grammar", "pddl_problem", "walkthrough", "solvable"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
)
def test_fuzz_fields(a_game: Path, field: str, value: Any) -> None:
    _play_a_little(_with(a_game, **{field: value}))
