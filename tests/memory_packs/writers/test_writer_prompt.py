"""A prompt shows the episode in the game's words, bounded, and its digest is that of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mug_episodes import LOST, WON, told

from duomem.core.files import sha256_file
from duomem.memory_packs import writers
from duomem.memory_packs.writers.prompt import PROMPTS, Prompt, transcript

FOLDER = Path(writers.__file__).parent / "prompts"


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(name: str) -> None:
    prompt = Prompt.load(name)
    assert prompt.digest == sha256_file(FOLDER / f"{name}.toml") and prompt.version >= 1
    assert prompt.tells_lost == (name == "avoid")
    system, question = prompt.first(told(), told(0, LOST, won=False), ("search", "take"), ("heat",), 7)
    assert (system.role, question.role) == ("system", "user") and "$" not in question.content
    for said in (
        "put a clean mug in shelf.",
        "> take mug 3 from desk 2\nYou pick up",
        ": search, take\n",
        "most 7 steps",
    ):
        assert said in question.content
    assert ("heat mug 3 with toaster 1" in question.content) == prompt.tells_lost
    *before, answer, again = prompt.once_more([system, question], "x" * 10**6, "step 1: $5")
    assert before == [system, question] and len(answer.content) < 10_000
    assert "step 1: $5" in again.content and (answer.role, again.role) == ("assistant", "user")


def test_every_prompt_file_has_its_format() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(PROMPTS)


def test_without_a_lost_episode_none_is_told() -> None:
    [_, question] = Prompt.load("avoid").first(told(), None, ("search",), (), 7)
    assert "lost" not in question.content


def test_a_transcript_is_in_the_games_own_words() -> None:
    own = told()
    person = replace(own, goal="stow the beaker", intro=own.intro.replace(own.goal, "stow the beaker"))
    assert transcript(person) == transcript(own) and "beaker" not in transcript(person)


def test_noise_is_left_out_and_length_is_bounded() -> None:
    own = told()
    first = replace(own.steps[0], is_noise=True)
    assert "> go to shelf 1\nYou arrive at shelf 1. On the shelf 1, you see a vase 1.\n> go to desk 2" in transcript(
        own
    )
    assert transcript(replace(own, steps=(first, *own.steps[1:]))).startswith(f"{own.intro}\n> go to desk 2")
    long = told(0, [("look", "y" * 10**5)] * 200 + list(WON))
    assert len(transcript(long)) < 20_000 and transcript(long).endswith("move the mug 3 to the shelf 1.")
