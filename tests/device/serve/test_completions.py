"""OpenAI's completions, asked by its official client: the tokens are those of the engine without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEngine
from serving import END, NAME, VOCAB, Serve, greedy, text_opinion

from duomem.device.agent.chat_policy import ChatTokenizer
from duomem.device.agent.constrained_decoding import log_softmax
from duomem.device.agent.prompt import PromptTokenizer

OPINION = text_opinion()
MESSAGES: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is a mug?"}]
IDS = {"return_token_ids": True}


@pytest.fixture(scope="module")
def client(serve: Serve) -> Any:
    return serve(FakeEngine(OPINION, VOCAB, 1000, max_sessions=9)).openai()


def _prompt(folder: Path, messages: list[Any] = MESSAGES) -> list[int]:
    turns = [(message["role"], message["content"]) for message in messages]
    return ChatTokenizer(PromptTokenizer(folder)).conversation(turns)


def _ask(client: Any, n: int = 40, **options: Any) -> Any:
    options = {"messages": MESSAGES, "temperature": 0, "extra_body": IDS, **options}
    return client.chat.completions.create(model=NAME, max_completion_tokens=n, **options)


def test_a_chat_gets_the_engines_own_tokens(client: Any, chat_tokenizer: Path) -> None:
    prompt = _prompt(chat_tokenizer)
    answer = _ask(client)
    expected = greedy(OPINION, prompt, 40)
    assert answer.prompt_token_ids == prompt and answer.choices[0].token_ids == expected
    assert answer.choices[0].message.content == PromptTokenizer(chat_tokenizer).decode(expected)
    assert answer.choices[0].finish_reason == ("stop" if expected[-1] == END else "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), len(expected))


def test_shared_beginnings_are_not_run_again_and_change_nothing(client: Any, chat_tokenizer: Path) -> None:
    shared = {"role": "system", "content": "Rules: " + "walk slowly, " * 20}
    for text, other in (("one", True), ("two", False), ("one", False), ("three, which is longer", False)):
        messages = [shared, {"role": "user", "content": text}]
        prompt = _prompt(chat_tokenizer, messages)
        answer = _ask(client, messages=messages)
        assert answer.choices[0].token_ids == greedy(OPINION, prompt, 40)
        cached = answer.usage.prompt_tokens_details.cached_tokens
        assert cached == 0 if other else cached >= 256 and cached % 32 == 0


def test_no_session_is_left_but_the_kept(serve: Serve) -> None:
    engine = FakeEngine(OPINION, VOCAB, 1000, max_sessions=2 + 2 + 2)
    client = serve(engine, kept=2).openai()
    for i in range(5):
        _ask(client, 3, messages=[{"role": "user", "content": f"{i} " * 50}])
    assert len(engine.open) == 2 + 2, "two kept, and the system text of each protocol"


def test_a_stream_has_the_same_pieces(client: Any) -> None:
    whole = _ask(client, logprobs=True, top_logprobs=2)
    chunks = [*_ask(client, logprobs=True, top_logprobs=2, stream=True, stream_options={"include_usage": True})]
    *pieces, last = chunks
    assert last.choices == [] and last.usage.completion_tokens == whole.usage.completion_tokens
    assert pieces[0].choices[0].delta.role == "assistant" and len(pieces) > 20
    choices = [piece.choices[0] for piece in pieces]
    assert "".join(c.delta.content or "" for c in choices) == whole.choices[0].message.content
    assert [t for c in choices if c.logprobs for t in c.logprobs.content] == whole.choices[0].logprobs.content
    assert [c.finish_reason for c in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1].finish_reason == whole.choices[0].finish_reason
    assert {piece.id for piece in pieces} == {last.id} and all(piece.usage is None for piece in pieces)


def test_a_stop_text_ends_the_answer_before_it(client: Any) -> None:
    text = _ask(client).choices[0].message.content
    stop = text[10:13]
    for stream in (False, True):
        answer = _ask(client, stop=["never written", stop], stream=stream)
        choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
        said = "".join(c.delta.content or "" for c in choices) if stream else choices[0].message.content
        assert said == text[: text.index(stop)] and choices[-1].finish_reason == "stop"


def test_log_probabilities_are_the_engines(client: Any, chat_tokenizer: Path) -> None:
    choice = _ask(client, 4, logprobs=True, top_logprobs=3).choices[0]
    tokens = _prompt(chat_tokenizer)
    for told, token in zip(choice.logprobs.content, choice.token_ids, strict=True):
        log_p = log_softmax(OPINION(tuple(tokens)))
        assert told.logprob == pytest.approx(log_p[token])
        assert [top.logprob for top in told.top_logprobs] == pytest.approx(np.sort(log_p)[::-1][:3])
        assert told.top_logprobs[0] == told.model_copy(update={"top_logprobs": None}) or told.logprob < 0
        assert bytes(told.bytes).decode() == told.token == PromptTokenizer(chat_tokenizer).decode([token])
        tokens.append(token)


def test_a_seed_draws_the_same_answer(client: Any) -> None:
    texts = [_ask(client, temperature=1, top_p=0.9, seed=s).choices[0].message.content for s in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("kind", ["text", "tokens", "list"])
def test_a_completion_goes_on_with_a_text(client: Any, chat_tokenizer: Path, kind: str) -> None:
    tokenizer = PromptTokenizer(chat_tokenizer)
    tokens = tokenizer.encode("Once upon")
    prompt: Any = {"text": "Once upon", "tokens": tokens, "list": [tokens]}[kind]
    answer = client.completions.create(model=NAME, prompt=prompt, temperature=0, logprobs=1, extra_body=IDS)
    (choice,) = answer.choices
    expected = greedy(OPINION, tokens, 16)
    assert choice.token_ids == expected and choice.text == tokenizer.decode(expected)
    assert "".join(choice.logprobs.tokens[: len(choice.text)]) == choice.text
    assert choice.logprobs.text_offset[:3] == [0, 1, 2] and len(choice.logprobs.token_logprobs) == len(expected)
    chunks = [*client.completions.create(model=NAME, prompt=prompt, temperature=0, stream=True)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text
    assert chunks[-1].choices[0].finish_reason == choice.finish_reason


def test_without_a_limit_a_chat_fills_the_context(serve: Serve, chat_tokenizer: Path) -> None:
    engine = FakeEngine(OPINION, VOCAB, 280, max_sessions=9)
    client = serve(engine, stop_ids=()).openai()
    answer = client.chat.completions.create(model=NAME, messages=MESSAGES, temperature=0, extra_body=IDS)
    expected = greedy(OPINION, _prompt(chat_tokenizer), 280 - len(_prompt(chat_tokenizer)), [END])
    assert answer.choices[0].token_ids == expected


def test_the_models(client: Any) -> None:
    (model,) = client.models.list().data
    assert model.id == NAME and client.models.retrieve(NAME) == model
    import openai

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
