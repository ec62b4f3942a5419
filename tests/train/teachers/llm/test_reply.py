"""A command is found in whatever a model writes around it, and never more than one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duomem.train.teachers.llm.reply import Reply, clean, read_reply

THOUGHT, COMMAND = "The mug is in the sink.", "take mug 1 from sinkbasin 1"
ANSWERS = {
    "react": f"Thought: {THOUGHT}\nAction: {COMMAND}",
    "goes on alone": f"Thought: {THOUGHT}\nAction: {COMMAND}\nObservation: You pick it up.\nThought: b\nAction: look",
    "numbered": f"1. Thought: {THOUGHT}\n2. Action: {COMMAND}",
    "numbered markers": f"Thought 3: {THOUGHT}\nAction 3: {COMMAND}",
    "bold": f"**Thought:** {THOUGHT}\n\n**Action:** `{COMMAND}`",
    "bold outside": f"**Thought**: {THOUGHT}\n**Action**: **{COMMAND}**",
    "shouting": f"THOUGHT: {THOUGHT}\nACTION: {COMMAND.upper()}",
    "fence": f"Thought: {THOUGHT}\n```text\nAction: {COMMAND}\n```",
    "fence alone": f"{THOUGHT}\n```\n{COMMAND}\n```",
    "prompt sign": f"{THOUGHT}\n\n> {COMMAND}",
    "quoted": f'Thought: {THOUGHT}\nAction: "{COMMAND}."',
    "next line": f"Thought: {THOUGHT}\nAction:\n{COMMAND}",
    "one line": f"Thought: {THOUGHT} Action: {COMMAND}",
    "json": f'{{"thought": "{THOUGHT}", "action": "{COMMAND}"}}',
    "json in a fence": f'```json\n{{"Thought": "{THOUGHT}", "Action": "{COMMAND}"}}\n```',
    "cut json": f'{{"thought": "{THOUGHT}", "action": "{COMMAND}"',
    "reasoning": f"<think>\n{THOUGHT}\n</think>\n\n{COMMAND.capitalize()}",
    "reasoning begun by the template": f"{THOUGHT}\n</think>\nAction: {COMMAND}",
    "bullet": f"{THOUGHT}\n- {COMMAND}",
    "windows": f"Thought: {THOUGHT}\r\nAction: {COMMAND}\r\n",
    "spaces": f"  Thought :  {THOUGHT}\n  Action :  take  mug 1   from sinkbasin 1  ",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
def test_dressed_up(answer: str) -> None:
    assert read_reply(answer) == Reply(THOUGHT, COMMAND)


@pytest.mark.parametrize("answer", [COMMAND, f"{COMMAND}.", f"`{COMMAND}`", f"1. {COMMAND}", f"Action: {COMMAND}"])
def test_a_command_alone(answer: str) -> None:
    assert read_reply(answer) == Reply("", COMMAND)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("put mug 1 in/on desk 2", "move mug 1 to desk 2"),
        ("Put Mug 1 on Desk 2.", "move mug 1 to desk 2"),
        ("move mug 1 to desk 2", "move mug 1 to desk 2"),
        ("Look!", "look"),
        ("go to desk 1\x1b[31m", "go to desk 1[31m"),
        ("...", ""),
    ],
)
def test_clean(line: str, command: str) -> None:
    assert clean(line) == command


def test_without_a_command_the_last_line_is_one() -> None:
    assert read_reply("I am not sure.\nPerhaps I give up") == Reply("I am not sure.", "perhaps i give up")
    assert read_reply("Thought: I need a mug. I need") == Reply("I need a mug. I need", "")
    assert read_reply("Action:") == read_reply("") == Reply("", "")


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_anything_is_one_printable_line(text: str) -> None:
    reply = read_reply(text)
    assert len(reply.command) <= 120 and reply.command.isprintable() and "\n" not in reply.thought


def test_a_long_answer_takes_no_time() -> None:
    for text in (
        "a " * 500_000,
        "\n" * 500_000,
        "Thought " * 200_000,
        "* " * 500_000,
        "{" * 500_000,
        "action " * 99_999,
    ):
        assert len(read_reply(text).thought) <= 4000
