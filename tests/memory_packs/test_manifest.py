"""What a pack says of itself comes back as it was said, and a manifest that lies is told by its field."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from typing import Any

import pytest

from duomem.core.stats import wilson
from duomem.memory_packs.manifest import (
    PROGRAM,
    UNRELEASED,
    Evaluation,
    Release,
    Teacher,
    Writer,
    manifest_from_json,
    manifest_to_json,
)

ROW = Evaluation.of("b" * 64, "valid_seen", "human:0", "free", "at most 3 memories", 140, 132)
RELEASE = Release(
    version="1.20.3-rc.1+b7",
    licence="Apache-2.0 AND MIT",
    upstream_licences=("MIT", "GPL-2.0-only WITH Classpath-exception-2.0"),
    prompt_version=2,
    k=2,
    token_budget=200,
    evaluations=(ROW, replace(ROW, split="train")),
)


def _refuse(field: str, why: str) -> ValueError:
    return ValueError(f"{field} {why}")


def _said(**changes: Any) -> dict[str, Any]:
    said = manifest_to_json("n", Teacher("llm", "some-model", "4", "d" * 64), "0" * 64, RELEASE)
    return json.loads(json.dumps(said)) | changes


def test_a_release_comes_back() -> None:
    teacher = Teacher("llm", "some-model", "4", "d" * 64)
    assert manifest_from_json(_said(), _refuse) == ("n", teacher, "0" * 64, RELEASE)
    assert UNRELEASED.release() == UNRELEASED and RELEASE.release() == RELEASE


def test_who_wrote_it_comes_back() -> None:
    """A pack that the program wrote says nothing of it, as before."""
    assert "writer" not in _said()
    written = replace(RELEASE, writer=Writer("llm", "org/model", "4", "d" * 64, 7))
    said = json.loads(json.dumps(manifest_to_json("n", Teacher("expert"), "", written)))
    assert manifest_from_json(said, _refuse)[3] == written and str(written.writer) == "llm:org/model/4"


@pytest.mark.parametrize("player", ["expert/1", "student:0123456789ab", "llm:a-model/2", "random"])
def test_a_teacher_is_named_as_the_player(player: str) -> None:
    assert str(Teacher.of(player)) == player and Teacher.of(player).kind == player.split(":")[0].split("/")[0]


def test_a_row_has_its_interval() -> None:
    assert (ROW.low, ROW.high) == tuple(round(bound, 4) for bound in wilson(132, 140))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({"version": v}, "version is no") for v in ("1", "1.0", "01.0.0", "1.0.0\n", "1.0.٣", 1, None, "9" * 5000)),
        *(({"licence": v}, "licence is no") for v in ("", "MIT OR", "a b", "MIT AND", "\u202eMIT", 3, "x" * 65)),
        *(({"upstream_licences": v}, "upstream_licences is not") for v in ("MIT", [1], [""], ["MIT"] * 21, None)),
        *(({"teacher": v}, "teacher is not an object") for v in ("expert/1", None, {}, {"kind": "expert"})),
        ({"teacher": asdict(Teacher("a")) | {"code": ""}}, "teacher is not an object"),
        ({"teacher": asdict(Teacher("a\nb"))}, "teacher.kind is not a line"),
        ({"teacher": asdict(Teacher("a", prompt_digest="d"))}, "teacher.prompt_digest is no SHA-256"),
        ({"environment": "x" * 201}, "environment is not a line"),
        *(({"prompt_version": v}, "prompt_version is neither") for v in ("2", -1, True, 1.5, 10**7)),
        *(({"k": v}, "k is not a whole number") for v in (0, True, 1.0, None, 10**7)),
        *(({"token_budget": v}, "token_budget is not") for v in (-1, "1", float("inf"))),
        *(({"evaluations": v}, "evaluations is not") for v in (None, {}, [{}] * 101)),
        ({"evaluations": [{}]}, "evaluations[0] is not an object"),
        *(
            ({"evaluations": [asdict(ROW), asdict(ROW) | change]}, f"evaluations[1]{said}")
            for change, said in (
                ({"student": "a\x1b[31m"}, ".student is not a line"),
                ({"n": 0, "wins": 0}, " does not say how many"),
                ({"wins": 141}, " does not say how many"),
                ({"wins": True}, " does not say how many"),
                ({"wins": 133}, " has another interval"),
                ({"low": float("nan")}, " has another interval"),
                ({"high": "1"}, " has another interval"),
            )
        ),
        *(({"writer": v}, "writer is not an object") for v in ("program", None, {}, {"kind": "llm"})),
        ({"writer": asdict(PROGRAM)}, "writer says what"),
        ({"writer": asdict(Writer("llm", "\u202e"))}, "writer.id is not a line"),
        ({"writer": asdict(Writer("llm", prompt_digest="d"))}, "writer.prompt_digest is no SHA-256"),
        *(({"writer": asdict(Writer("llm")) | {"by_program": v}}, "writer.by_program is not") for v in (-1, True, "1")),
        ({"code": "import os"}, "'code' is none that"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_manifest_that_lies(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}"):
        manifest_from_json(_said(**changes), _refuse)


@pytest.mark.parametrize("field", sorted(_said().keys() - {"format", "schema"}))
def test_a_manifest_without_a_field(field: str) -> None:
    said = _said()
    del said[field]
    with pytest.raises(ValueError, match=f"^{field} is n"):
        manifest_from_json(said, _refuse)
