"""A model's entry is taken if it keeps to its episode, else asked for again, else the program's is taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from mug_episodes import LIST, LOST, SCRIPT, games, told
from scripted_chat import Reply, ScriptedModel

from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import Message
from duomem.core.errors import UserError
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.writers.answers import read_answers
from duomem.memory_packs.writers.prompt import Prompt
from duomem.memory_packs.writers.writer import Draft, Entry, ModelWriter

WORDED = LIST.replace("1. search shelf, desk", "1. search the shelf and then the desk")
FOREIGN = LIST.replace("mug from desk", "plate from cabinet")
LESSON = f"{LIST}\n7. avoid clean mug with desk"


def _write(
    tmp_path: Path,
    model: ScriptedModel,
    count: int = 1,
    revision: str = "",
    lost: bool = False,
    concurrency: int = 4,
) -> list[Entry]:
    drafts = [Draft(write_memory(t), t, told(0, LOST, won=False) if lost else None) for t in games(count)]
    prompt = Prompt.load("avoid" if lost else "script")
    return ModelWriter(model, revision, concurrency).write(drafts, prompt, 60, tmp_path / "answers")


def _after(*answers: str) -> Reply:
    """The answers in their order to one conversation, then the last again."""
    return lambda messages: answers[min(len(messages) // 2 - 1, len(answers) - 1)]


def test_a_good_answer_is_taken(tmp_path: Path) -> None:
    model = ScriptedModel(_after(WORDED))
    [entry] = _write(tmp_path, model)
    assert entry.by_model and entry.memory.steps == ("search the shelf and then the desk", *SCRIPT[1:])
    assert entry.memory.task == "put a clean mug in shelf." and entry.memory.kind == "script"
    assert len(model.asked) == model.closed == 1


def test_a_bad_answer_is_asked_for_again_with_the_reason(tmp_path: Path) -> None:
    model = ScriptedModel(_after(FOREIGN, WORDED))
    [entry] = _write(tmp_path, model)
    assert entry.by_model and len(model.asked) == 2
    *before, answer, reason = model.asked[1]
    assert tuple(before) == model.asked[0] and answer == Message("assistant", FOREIGN)
    assert 'step 2: "plate" is no thing' in reason.content


@pytest.mark.parametrize(("bad", "cut"), [(FOREIGN, False), ("", False), ("\x00" * 999, False), (WORDED, True)])
def test_then_the_programs_is_taken(tmp_path: Path, bad: str, cut: bool) -> None:
    model = ScriptedModel(_after(bad), cut=cut)
    assert _write(tmp_path, model) == [Entry(write_memory(told()), by_model=False)] and len(model.asked) == 3


def test_lessons_of_a_lost_episode(tmp_path: Path) -> None:
    model = ScriptedModel(_after(LIST, LESSON))
    [entry] = _write(tmp_path, model, lost=True)
    assert entry.memory.steps == (*SCRIPT, "avoid clean mug with desk") and len(model.asked) == 2


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    first = ScriptedModel(_after(FOREIGN, WORDED))
    entries = _write(tmp_path, first)
    again = ScriptedModel(_after("not asked"))
    assert _write(tmp_path, again) == entries and not again.asked and again.closed == 1
    other = ScriptedModel(_after(WORDED), name="another")
    assert _write(tmp_path, other) == entries and len(other.asked) == 1
    assert _write(tmp_path, newer := ScriptedModel(_after(WORDED)), revision="2") == entries and len(newer.asked) == 1


def test_questions_at_once_are_bounded_and_entries_keep_their_order(tmp_path: Path) -> None:
    def reply(messages: Sequence[Message]) -> str:
        return "no list" if "mug 4" in messages[1].content else WORDED

    model = ScriptedModel(reply, delay=0.01)
    entries = _write(tmp_path, model, count=9, concurrency=3)
    assert [entry.memory.game for entry in entries] == [told(i).game for i in range(9)]
    assert [entry.by_model for entry in entries] == [i != 4 for i in range(9)]
    assert model.most_at_once == 3 and len(model.asked) == 11


def test_no_answer_at_all_stops_and_keeps_what_was_answered(tmp_path: Path) -> None:
    failing = ScriptedModel(_after(FOREIGN), fails_after=2)
    with pytest.raises(UserError, match="gave no answer"):
        _write(tmp_path, failing)
    assert failing.closed == 1 and len(read_answers(tmp_path / "answers")) == 2
    going_on = ScriptedModel(_after(FOREIGN))
    assert not _write(tmp_path, going_on)[0].by_model and len(going_on.asked) == 1


_PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from mug_episodes import games
from scripted_chat import ScriptedModel
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.writers.prompt import Prompt
from duomem.memory_packs.writers.writer import Draft, ModelWriter
def reply(messages):
    with open({log!r}, "a") as f:
        f.write("asked\\n")
    return "no list"
drafts = [Draft(write_memory(t), t) for t in games(10)]
writer = ModelWriter(ScriptedModel(reply, delay=0.02), concurrency=2)
print(len(writer.write(drafts, Prompt.load("script"), 60, Path({answers!r}))))
"""


def test_a_killed_run_asks_nothing_twice(tmp_path: Path) -> None:
    """kill -9 of a process that asks 30 times, twice: two answers at most were on their way at each kill."""
    here, log, answers = Path(__file__).parent, tmp_path / "log", tmp_path / "answers"
    program = _PROGRAM.format(tests=str(here.parents[1]), log=str(log), answers=str(answers))
    for _ in range(2):
        running = subprocess.Popen([sys.executable, "-c", program])
        at_start = _lines(log)
        while _lines(log) < at_start + 5 and running.poll() is None:
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "10\n" and len(read_answers(answers)) == 30 <= _lines(log) <= 34


@pytest.mark.parametrize("fault", [NoAnswer("an empty answer"), PromptTooLong("too long")])
def test_an_entry_without_an_answer_is_the_programs(tmp_path: Path, fault: UserError) -> None:
    def reply(messages: Sequence[Message]) -> str:
        if "mug 1" in messages[1].content:
            raise fault
        return WORDED

    assert [entry.by_model for entry in _write(tmp_path, ScriptedModel(reply), count=3)] == [True, False, True]
    again = ScriptedModel(_after(WORDED))
    assert all(entry.by_model for entry in _write(tmp_path, again, count=3)) and len(again.asked) == 1


def _lines(log: Path) -> int:
    return log.read_text().count("\n") if log.exists() else 0
