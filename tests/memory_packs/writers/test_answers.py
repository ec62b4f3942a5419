"""An answer is kept once it is given, and a file of answers that is none is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from duomem.core.chat.model import Answer, Message
from duomem.core.errors import FileError
from duomem.memory_packs.writers.answers import Answers, answers_beside, digest_of_question, read_answers

ANSWER = Answer("1. go\n\x1b[31m", 5, 3, "stop")


def test_answers_come_back(tmp_path: Path) -> None:
    file = answers_beside(tmp_path / "deep" / "a.dmpack")
    for number in range(3):
        with Answers(file) as answers:
            assert answers.find(str(number)) is None and (not number or answers.find("0") == ANSWER)
            assert answers.add(str(number), ANSWER) == ANSWER == answers.find(str(number))
    assert read_answers(file) == dict.fromkeys("012", ANSWER)
    assert [path.name for path in file.parent.iterdir()] == ["a.dmpack.answers.jsonl"]


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    with Answers(file) as answers:
        answers.add("a", ANSWER)
        answers.add("b", ANSWER)
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    with Answers(file):
        pass
    assert file.read_bytes() == whole[: whole.index(b"\n") + 1]
    file.write_bytes(whole[:-4])
    with Answers(file) as answers:
        assert answers.find("a") == ANSWER and answers.find("b") is None
        answers.add("b", ANSWER)
    assert file.read_bytes() == whole


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Answers(tmp_path / "a"), pytest.raises(FileError, match="another process"), Answers(tmp_path / "a"):
        pass
    with Answers(tmp_path / "a"):
        pass


@pytest.mark.parametrize(
    "row",
    [
        "[]",
        "{",
        "{}",
        '{"asked": "a"}',
        '{"asked": 3, "text": "", "prompt_tokens": 1, "completion_tokens": 1, "finished": ""}',
        '{"asked": "", "text": "", "prompt_tokens": "1", "completion_tokens": 1, "finished": ""}',
    ],
)
def test_no_answers(tmp_path: Path, row: str) -> None:
    (tmp_path / "a").write_text(row + "\n")
    with pytest.raises(FileError, match=r"a: line 1 "), Answers(tmp_path / "a"):
        pass


def test_endless_answers_are_bounded(tmp_path: Path) -> None:
    with Answers(tmp_path / "a") as answers:
        assert len(answers.add("a", Answer("x" * 10**7, 1, 1, "length")).text) == 100_000


def test_a_question_is_all_that_is_sent() -> None:
    messages = [Message("system", "a"), Message("user", "b")]
    changed = [
        digest_of_question("other", messages, max_tokens=3),
        digest_of_question("m", messages, max_tokens=4),
        digest_of_question("m", messages[::-1], max_tokens=3),
        digest_of_question("m", messages[:1], max_tokens=3),
    ]
    assert len({digest_of_question("m", messages, max_tokens=3), *changed}) == 5
