"""Pieces of text: whole characters, and no letter that a stop text takes back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.serve.sampler import Sampler, top_tokens
from duomem.device.serve.text_stream import TextStream


@pytest.fixture(scope="module")
def tokenizer(byte_tokenizer: Path) -> PromptTokenizer:
    return PromptTokenizer(byte_tokenizer)


def _bytes(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode("utf-8", "replace")


def test_a_character_comes_whole(tokenizer: PromptTokenizer) -> None:
    text = "a mug ä € 🙂 \ufffd."
    stream = TextStream(tokenizer.decode, ())
    pieces = [stream.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) == text and pieces.count("🙂") == 1
    assert stream.finish() == ""


def test_bytes_that_are_no_character_come_too() -> None:
    stream = TextStream(_bytes, ())
    said = "".join(stream.push(byte) for byte in b"a\xff\xff\xff\xff\xffb\xe2\x82")
    assert (said + stream.finish()).strip("\ufffd").replace("\ufffd", "") == "ab"


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_a_stop_text_cuts_at_its_first_place(text: str, stops: list[str]) -> None:
    stream = TextStream(_bytes, stops)
    said = ""
    for byte in text.encode():
        said += stream.push(byte)
        assert not any(stop in said for stop in stops)
        if stream.stopped:
            break
    said += stream.finish()
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    assert stream.stopped == bool(ends)
    if not ends:
        assert said == text
    else:
        first = min(end for end, _ in ends)
        assert said == text[: min(at for end, at in ends if end == first)]


def test_no_letter_waits_longer_than_a_stop_text_may() -> None:
    stream = TextStream(_bytes, ["xyz"])
    assert [stream.push(byte) for byte in b"axyaxb"] == ["a", "", "", "xya", "", "xb"]


def test_the_likeliest_token_without_temperature() -> None:
    logits = np.array([0, 2, 2, 1], np.float32)
    assert {Sampler(0, 1, None).pick(logits), Sampler(1, 0, None).pick(logits)} == {1}
    assert top_tokens(logits, 3) == [1, 2, 3] and top_tokens(logits, 0) == [] and len(top_tokens(logits, 20)) == 4


@pytest.mark.parametrize(("top_p", "drawn"), [(1.0, {0, 1, 2, 3}), (0.9, {0, 1, 2}), (0.5, {0}), (0.51, {0, 1})])
def test_tokens_are_drawn_by_their_probability(top_p: float, drawn: set[int]) -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    sampler = Sampler(1, top_p, 0)
    counts = np.bincount([sampler.pick(np.log(p).astype(np.float32)) for _ in range(4000)], minlength=4)
    kept = p * np.isin(range(4), list(drawn))
    assert set(np.flatnonzero(counts)) == drawn
    np.testing.assert_allclose(counts / 4000, kept / kept.sum(), atol=0.03)


def test_a_high_temperature_evens_out() -> None:
    sampler = Sampler(2, 1, 1)
    logits = np.log(np.array([0.8, 0.2])).astype(np.float32)
    share = np.mean([sampler.pick(logits) for _ in range(4000)])
    assert share == pytest.approx(1 / 3, abs=0.03)
