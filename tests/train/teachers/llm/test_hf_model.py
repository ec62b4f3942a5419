"""A local model answers whoever asks at once in one batch, each as if it were alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import Answer, Message
from duomem.core.errors import ModelError
from duomem.core.trajectory import read_trajectories
from duomem.train.teachers.llm.hf_model import HfModel

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
CHATS = [[Message("system", "Play."), Message("user", "go" * n)] for n in (1, 30, 7)]


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Path:
    """A tiny random Llama with a chat template and room for an episode."""
    folder = tmp_path_factory.mktemp("chat") / "tiny-chat"
    make_model(folder, max_position_embeddings=4096, vocab_size=256, eos_token_id=10)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def _ask(folder: Path, chats: list[list[Message]], batch: int, **options: Any) -> tuple[list[Any], list[int]]:
    """What each chat is answered, and how many were answered together each time."""
    sizes: list[int] = []

    class Counting(HfModel):
        def _generate(self, batch: Any) -> Any:
            sizes.append(len(batch))
            return super()._generate(batch)

    async def ask() -> list[Any]:
        model = Counting(folder, batch)
        asking = [model.answer(chat, **({"max_tokens": 12} | options)) for chat in chats]
        try:
            return await asyncio.gather(*asking, return_exceptions=True)
        finally:
            await model.close()

    return asyncio.run(ask()), sizes


def test_in_a_batch_as_alone(chat_model: Path) -> None:
    alone = [_ask(chat_model, [chat], 1)[0][0] for chat in CHATS]
    together, sizes = _ask(chat_model, CHATS, 8)
    assert together == alone and sizes == [3]
    assert all(isinstance(one, Answer) and 0 < one.completion_tokens <= 12 for one in together)
    assert [one.prompt_tokens for one in together] == [
        len(f"<system>Play.\n<user>{c[1].content}\n<assistant>") for c in CHATS
    ]
    assert _ask(chat_model, CHATS, 2)[1] == [2, 1]


def test_draws_are_of_the_seed_whatever_else_is_asked(chat_model: Path) -> None:
    hot = {"temperature": 1.0, "seed": 3}
    alone = _ask(chat_model, CHATS[:1], 1, **hot)[0]
    assert _ask(chat_model, CHATS, 8, **hot)[0][:1] == alone
    assert _ask(chat_model, CHATS[:1], 1, temperature=1.0, seed=4)[0] != alone
    assert _ask(chat_model, CHATS[:1], 1)[0] != alone


def test_it_ends_where_it_is_to(chat_model: Path) -> None:
    """At the limit, or before a stop sequence, which is not part of the answer."""
    (long,), _ = _ask(chat_model, CHATS[:1], 1)
    assert (long.finished, long.completion_tokens) == ("length", 12)
    mark = long.text[3:5]
    (cut,), _ = _ask(chat_model, CHATS[:1], 1, stop=[mark])
    assert cut.text == long.text.partition(mark)[0] and cut.finished == "stop" and cut.completion_tokens < 12
    (empty,), _ = _ask(chat_model, CHATS[:1], 1, stop=[long.text[:1]])
    assert isinstance(empty, NoAnswer)


def test_what_does_not_fit_is_told_and_the_rest_answered(chat_model: Path) -> None:
    long = [Message("user", "x" * 5000)]
    found, _ = _ask(chat_model, [CHATS[0], long, CHATS[1]], 8)
    assert [type(one) for one in found] == [Answer, PromptTooLong, Answer]
    assert [found[0], found[2]] == _ask(chat_model, CHATS[:2], 8)[0]


def test_a_damaged_model_is_told_in_a_line(chat_model: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        folder = tmp_path / name
        folder.mkdir()
        for file in chat_model.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / name).write_bytes((folder / name).read_bytes()[:200])
        (error,), _ = _ask(folder, CHATS[:1], 1)
        assert isinstance(error, ModelError) and "is damaged" in str(error)


def test_models_that_cannot_chat(chat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        HfModel(tmp_path)
    for config, said in (
        ({}, "no chat template"),
        ({"chat_template": "{{ raise_exception('no') }}"}, "refuses the messages"),
    ):
        folder = tmp_path / str(len(config))
        folder.mkdir()
        for file in chat_model.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | config)
        )
        (error,), _ = _ask(folder, CHATS[:1], 1)
        assert isinstance(error, ModelError) and said in str(error)


def test_the_command(chat_model: Path, generated_games: Path, tmp_path: Path) -> None:
    """The same file whatever the batch; what a random model says wins nothing."""
    style = tmp_path / "short.toml"
    style.write_text('version = 1\nsystem = "S"\nnew_game = ""\nadmissible = " {commands}"\nanswer = "{action}"\n')
    words = ["teach", "--teacher", "hf", "--model", str(chat_model), "--games", str(generated_games), "--limit", "4"]
    words += ["--style", str(style), "--no-list-admissible", "--max-steps", "3", "--max-answer-tokens", "8"]
    for n in (1, 3):
        assert main([*words, "--concurrency", str(n), "--out", str(tmp_path / f"{n}.jsonl")]) == 0
    one, three = ([(t.game, t.steps, t.won) for t in read_trajectories(tmp_path / f"{n}.jsonl")] for n in (1, 3))
    assert one == three and len(one) == 4 and all(len(steps) == 3 for _, steps, _ in one)
    record = json.loads((tmp_path / "1.jsonl.inputs.json").read_text())
    assert record["player"] == "llm:tiny-chat" and len(record["weights"]) == 64
