"""A chat model from a local transformers folder: whoever asks meanwhile is answered in one batch."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import Answer, Message
from duomem.core.errors import ModelError, UserError
from duomem.train.base_model import first_line, load_causal_lm, weights_digest

_GATHER = 0.01
"""Seconds that a batch waits for others to join: the games between two answers take less."""


@dataclass(frozen=True)
class _Question:
    messages: Sequence[Message]
    max_tokens: int
    temperature: float
    stop: tuple[str, ...]
    seed: int | None
    answer: asyncio.Future[Answer]


class HfModel:
    """The model in a folder (keeps ChatModel), loaded when it is first asked."""

    def __init__(self, folder: Path, batch: int = 8) -> None:
        """folder: a transformers model with safetensors and a chat template. batch: most questions answered at once.
        Raises ModelError if there is no such folder.
        """
        if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
            raise ModelError(f"{folder}: no config.json or no *.safetensors in it: give a Hugging Face model folder")
        self._folder = folder
        self._batch = batch
        self._waiting: list[_Question] = []
        self._answering: asyncio.Task[None] | None = None
        self._loaded: _Generator | None = None

    @property
    def name(self) -> str:
        """The folder's."""
        return self._folder.resolve().name

    def digest(self) -> str:
        """Hex SHA-256 of its weights."""
        return weights_digest(self._folder)

    async def answer(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """See ChatModel. Raises PromptTooLong, NoAnswer for an empty one, ModelError for a model without chat."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Question(tuple(messages), max_tokens, temperature, tuple(stop), seed, future))
        if self._answering is None or self._answering.done():
            self._answering = asyncio.ensure_future(self._answer_all())
        return await future

    async def close(self) -> None:
        """Stop answering, and let go of the weights once the batch under way is done."""
        if self._answering is not None:
            self._answering.cancel()
        self._waiting.clear()
        self._loaded = None

    async def _answer_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER)
            batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            try:
                answers: Sequence[Answer | UserError] = await asyncio.to_thread(self._generate, batch)
            except Exception as e:
                answers = [e] * len(batch)  # pyright: ignore[reportAssignmentType]
            for question, found in zip(batch, answers, strict=True):
                if question.answer.done():
                    continue
                if isinstance(found, Exception):
                    question.answer.set_exception(found)
                else:
                    question.answer.set_result(found)

    def _generate(self, batch: Sequence[_Question]) -> list[Answer | UserError]:
        if self._loaded is None:
            self._loaded = _Generator(self._folder)
        return self._loaded.answers(batch)


class _Generator:
    """Model and tokenizer, loaded."""

    def __init__(self, folder: Path) -> None:
        try:
            import torch
            from transformers import AutoTokenizer
        except ImportError as e:
            raise ModelError(f"a local model needs the extra `train` ({e}): pip install 'duomem[train]'") from None
        self._folder = folder
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as e:  # json, config and version errors: all mean it cannot be used
            raise ModelError(
                f"{folder}: its tokenizer is damaged or of an unknown kind ({first_line(e)}): copy it again"
            ) from None
        if not self._tokenizer.chat_template:
            raise ModelError(f"{folder}: its tokenizer has no chat template: take an instruct model")
        model = load_causal_lm(folder, "auto")
        self._model = model.to(self._device).eval()
        ends = model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends or ())
        if self._tokenizer.eos_token_id is not None:
            self._ends.add(self._tokenizer.eos_token_id)
        if not self._ends:
            raise ModelError(f"{folder}: neither its config nor its tokenizer says which token ends an answer")
        self._longest = getattr(model.config, "max_position_embeddings", None) or 1 << 30

    def answers(self, batch: Sequence[_Question]) -> list[Answer | UserError]:
        """One for each question, in order."""
        prompts = [self._prompt(question) for question in batch]
        found: list[Answer | UserError] = [
            PromptTooLong(f"{self._folder}: an episode of {len(prompt)} tokens leaves no room for an answer")
            for prompt in prompts
        ]
        fitting = [i for i, q in enumerate(batch) if len(prompts[i]) + q.max_tokens <= self._longest]
        if fitting:
            written = self._write([prompts[i] for i in fitting], [batch[i] for i in fitting])
            for i, tokens in zip(fitting, written, strict=True):
                found[i] = self._read(tokens, len(prompts[i]), batch[i])
        return found

    def _prompt(self, question: _Question) -> list[int]:
        chat = [{"role": m.role, "content": m.content} for m in question.messages]
        try:
            text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        except Exception as e:  # a template is a program of the model's own
            raise ModelError(
                f"{self._folder}: its chat template refuses the messages ({first_line(e)}): take another"
            ) from None
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _write(self, prompts: Sequence[list[int]], questions: Sequence[_Question]) -> list[list[int]]:
        """What the model writes after each prompt."""
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        pad, width = min(self._ends), max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self._device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self._device)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(q.max_tokens for q in questions),
            eos_token_id=sorted(self._ends),
            pad_token_id=pad,
        )
        try:
            with torch.inference_mode():
                out = self._model.generate(
                    ids,
                    attention_mask=mask,
                    generation_config=config,
                    logits_processor=LogitsProcessorList([_draws(questions, prompts)]),
                    stopping_criteria=StoppingCriteriaList([self._stopped(questions, width)]),
                )
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{self._folder}: {len(prompts)} prompts of up to {width} tokens do not fit into the device's memory: "
                "give a smaller --concurrency"
            ) from None
        return out[:, width:].tolist()

    def _stopped(self, questions: Sequence[_Question], width: int) -> Any:
        """Which rows have written a stop sequence, or as much as they may."""
        import torch

        def stopped(ids: Any, scores: Any, **more: Any) -> Any:
            texts = self._tokenizer.batch_decode(ids[:, width:])
            done = [
                ids.shape[1] - width >= q.max_tokens or any(mark in text for mark in q.stop)
                for q, text in zip(questions, texts, strict=True)
            ]
            return torch.tensor(done, device=ids.device)

        return stopped

    def _read(self, tokens: list[int], prompt_tokens: int, question: _Question) -> Answer | UserError:
        """The answer in what a row holds after its prompt: behind its end there is padding."""
        tokens = tokens[: question.max_tokens]
        end = next((i for i, token in enumerate(tokens) if token in self._ends), None)
        written = self._tokenizer.decode(tokens[:end], skip_special_tokens=True)
        text = written
        for mark in question.stop:
            text = text.partition(mark)[0]
        if not text.strip():
            return NoAnswer(f"{self._folder}: the model answers nothing")
        finished = "stop" if end is not None or text != written else "length"
        return Answer(text, prompt_tokens, len(tokens) if end is None else end + 1, finished)


def _draws(questions: Sequence[_Question], prompts: Sequence[list[int]]) -> Any:
    """Turns the likeliest next token into one drawn at the row's temperature (Gumbel's trick), the same for the same
    seed and prompt, whatever else is in the batch.
    """
    import torch

    rows = []
    for i, (question, prompt) in enumerate(zip(questions, prompts, strict=True)):
        if question.temperature > 0:
            digest = hashlib.sha256(f"{question.seed}/{prompt}".encode()).digest()
            rows.append((i, question.temperature, torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))))

    def draw(ids: Any, scores: Any) -> Any:
        for i, temperature, generator in rows:
            noise = -torch.empty(scores.shape[1]).exponential_(generator=generator).log()
            scores[i] = scores[i] / temperature + noise.to(scores.device)
        return scores

    return draw
