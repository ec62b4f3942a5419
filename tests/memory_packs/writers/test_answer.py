"""A list is found in whatever a model says around it, and what cannot be an entry is told with its reason."""

from __future__ import annotations

import pytest
from mug_episodes import LIST, LOST, SCRIPT, told

from duomem.core.chat.model import Answer
from duomem.memory_packs.memory_format import write_memory
from duomem.memory_packs.writers.answer import fault_of, read_steps
from duomem.memory_packs.writers.vocabulary import Vocabulary

DRAFT, WORDS = write_memory(told()), Vocabulary.of(told())


@pytest.mark.parametrize(
    "text",
    [
        LIST,
        f"<think>First, the player\n1. heat plate\n</think>\nHere is the list:\n\n{LIST}\n\nI hope it helps!",
        "```\n" + "\n".join(f"- **{step.capitalize()}.**" for step in SCRIPT) + "\n```",
        "\n".join(f"* `{step}`" for step in SCRIPT),
        "\n".join(f"Step {i}: {step} " for i, step in enumerate(SCRIPT, 1)),
        "\n".join(SCRIPT),
        "; ".join(f"{i}) {step}" for i, step in enumerate(SCRIPT, 1)) + ";",
        LIST.replace("mug", "mug 3").replace("desk", "desk 2"),
    ],
)
def test_a_list_is_found(text: str) -> None:
    assert tuple(read_steps(text)) == SCRIPT


def test_an_endless_answer_is_read_to_a_limit() -> None:
    assert len(read_steps("1. go to desk\n" * 10**6)) < 2_000


def _fault(text: str, finished: str = "stop", words: Vocabulary = WORDS, most: int = 20) -> str:
    return fault_of(read_steps(text), Answer(text, 1, 1, finished), DRAFT, words, most)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 steps, not 1 to 20"),
        ("1. go to desk\n" * 21, "21 steps"),
        (f"{LIST}\n7. take plate from desk", 'step 7: "plate" is no thing'),
        ("I cannot help with that.", 'step 1: "i" is no command'),
        (f"{LIST}\n7. go to desk {'and desk ' * 20}", "step 7 has more than 100 letters"),
        (f"{LIST}\n7. go to <b>desk</b>", "step 7 has other signs"),
        (f"{LIST}\n7. go to d\u0435sk", "step 7 has other signs"),  # a Cyrillic letter
        ("1. search desk\n2. go to shelf", 'no step names the "mug"'),
        ("1. take mug\n2. go to desk", 'no step names the "shelf"'),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_what_cannot_be_an_entry(text: str, said: str) -> None:
    assert said in _fault(text)


def test_a_good_list() -> None:
    assert _fault(LIST) == "" and "cut off" in _fault(LIST, "length") and "6 steps" in _fault(LIST, most=5)


def test_lessons_come_last_and_are_there() -> None:
    both = Vocabulary.of(told(), told(0, LOST, won=False))
    assert _fault(f"{LIST}\n7. avoid take mug from shelf", words=both) == ""
    assert 'no step begins with "avoid"' in _fault(LIST, words=both)
    assert "must come last" in _fault(f"0. avoid look\n{LIST}", words=both)
    assert "must come last" in _fault("1. avoid look", words=both)
