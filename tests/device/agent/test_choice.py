"""What is kept of a choice: the likeliest candidates, once each."""

from __future__ import annotations

from duomem.device.agent.choice import MAX_CANDIDATES, Choice, likeliest


def test_the_likeliest_come_first_and_once() -> None:
    met = [("look", 0.25), ("go to bed 1", 0.5), ("look", 0.125), ("help", 0.0001)]
    assert likeliest(met) == (("go to bed 1", 0.5), ("look", 0.25))
    assert len(likeliest((f"go to bed {n}", 0.01) for n in range(99))) == MAX_CANDIDATES


def test_a_choice_as_json() -> None:
    choice = Choice((("look", 0.123456),), ("help",), 0.1234567, 7, 2)
    assert choice.to_json() == {
        "candidates": [["look", 0.123]],
        "withheld": ["help"],
        "seconds": 0.1235,
        "prefilled": 7,
        "decoded": 2,
    }
