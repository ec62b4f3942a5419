"""What `/v1/chat/completions` and `/v1/completions` are asked for, checked and in tokens.

A field that would change the answer and is not supported is an error: it is never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from duomem.device.agent.chat_policy import ChatTokenizer
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.serve.api_error import ApiError, wrong
from duomem.device.serve.body import Fields

_MOST_MESSAGES = 2048
_MOST_PARTS = 64
_MOST_STOPS = 16
_LONGEST_STOP = 256
_MOST_TOP = 20
_SEED = 1 << 63
_COMPLETION_TOKENS = 16
"""OpenAI's default of `max_tokens` for a completion; a chat's is what the context has room for."""

_WITHOUT_EFFECT = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "safety_identifier",
}
"""Fields that ask nothing of the answer itself."""
_ONLY: Mapping[str, Sequence[Any]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
}
"""Fields of which only these values are done here."""
_COMMON = {
    "model",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "return_token_ids",
    *_WITHOUT_EFFECT,
    *_ONLY,
}
_CHAT = {*_COMMON, "messages", "max_completion_tokens", "top_logprobs"}
_COMPLETION = {*_COMMON, "prompt"}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class CompletionRequest:
    """One checked request.

    prompt: token ids. max_tokens: most tokens to write. temperature: 0 for the likeliest token. stop: texts that end
    the answer. stop_ids: tokens that end it. top: how many of the likeliest tokens are told at each place, None for no
    log-probabilities. usage: whether a stream ends with the usage. token_ids: whether ids are told.
    """

    chat: bool
    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    stop_ids: frozenset[int]
    stream: bool
    usage: bool
    top: int | None
    token_ids: bool


@dataclass(frozen=True)
class Reader:
    """Reads requests for one model.

    name: the only `model` there is. chat: None where the model has no known chat format, `no_chat` says why then.
    context_length: most tokens of prompt and answer. stop_ids: the model's own ends of a text.
    """

    name: str
    tokenizer: PromptTokenizer
    chat: ChatTokenizer | None
    no_chat: str
    vocab_size: int
    context_length: int
    stop_ids: frozenset[int]

    def read_chat(self, body: dict[str, Any]) -> CompletionRequest:
        """The request of a `/v1/chat/completions` body. Raises ApiError."""
        fields = Fields(body)
        fields.only(_CHAT)
        if self.chat is None:
            raise ApiError(400, f"{self.no_chat}; /v1/completions does without a chat format", code="no_chat_format")
        turns = [_turn(message) for message in fields.objects("messages", _MOST_MESSAGES)]
        if fields.has("max_tokens") and fields.has("max_completion_tokens"):
            raise wrong("max_tokens", "give either this or max_completion_tokens")
        limit = "max_tokens" if fields.has("max_tokens") else "max_completion_tokens"
        top = fields.integer("top_logprobs", 0, _MOST_TOP)
        if not fields.flag("logprobs"):
            if top is not None:
                raise wrong("top_logprobs", "give logprobs true too")
        elif top is None:
            top = 0
        return self._request(fields, True, self.chat.conversation(turns), limit, top)

    def read_completion(self, body: dict[str, Any]) -> CompletionRequest:
        """The request of a `/v1/completions` body. Raises ApiError."""
        fields = Fields(body)
        fields.only(_COMPLETION)
        top = fields.integer("logprobs", 0, _MOST_TOP)
        return self._request(fields, False, self._prompt(fields.raw("prompt")), "max_tokens", top)

    def _prompt(self, prompt: Any) -> list[int]:
        """A text, a list of token ids, or a list of one of these."""
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
            prompt = prompt[0]
        if isinstance(prompt, str):
            return [*self.tokenizer.start, *self.tokenizer.encode(prompt)]
        if not isinstance(prompt, list) or not all(type(token) is int for token in prompt):
            raise wrong("prompt", "is not one text, nor one list of token ids: send one prompt a request")
        if not all(0 <= token < self.vocab_size for token in prompt):
            raise wrong("prompt", f"holds a token id outside 0..{self.vocab_size - 1}")
        return prompt

    def _request(
        self, fields: Fields, chat: bool, prompt: Sequence[int], limit: str, top: int | None
    ) -> CompletionRequest:
        if (model := fields.text("model")) is not None and model != self.name:
            raise ApiError(
                404, f"model: there is no {model[:80]!r} here, only {self.name!r}", "model", "model_not_found"
            )
        for name, values in _ONLY.items():
            if fields.has(name) and fields.raw(name) not in values:
                raise wrong(
                    name, f"only {' or '.join(map(str, values)) or 'empty'} is supported here", "unsupported_value"
                )
        if not prompt:
            raise wrong("prompt", "is empty: send at least one token")
        stream, options = fields.flag("stream"), fields.object("stream_options")
        options.only({"include_usage", "include_obfuscation"})
        if fields.has("stream_options") and not stream:
            raise wrong("stream_options", "give stream true too")
        ends = self.stop_ids | ({self.chat.end} if chat and self.chat is not None else set())
        return CompletionRequest(
            chat,
            tuple(prompt),
            self._most_tokens(fields, limit, len(prompt), chat),
            fields.number("temperature", 0, 2, 1.0),
            fields.number("top_p", 0, 1, 1.0),
            fields.integer("seed", -_SEED, _SEED - 1),
            _stops(fields),
            frozenset(ends),
            stream,
            options.flag("include_usage"),
            top,
            fields.flag("return_token_ids"),
        )

    def _most_tokens(self, fields: Fields, limit: str, prompt: int, chat: bool) -> int:
        room = self.context_length - prompt
        asked = fields.integer(limit, 1, 1 << 53)
        if room < (asked or 1):
            raise wrong(
                "messages" if chat else "prompt",
                f"the context is {self.context_length} tokens, the prompt has {prompt} and {asked or 1} are to be "
                "written: shorten it, or ask for fewer",
                "context_length_exceeded",
            )
        return asked or (room if chat else min(room, _COMPLETION_TOKENS))


def _turn(message: Fields) -> tuple[str, str]:
    """(role, text) of a message."""
    message.only({"role", "content", "name", "refusal"})
    role = message.text("role", 20)
    if role not in _ROLES:
        raise message.wrong("role", f"is none of {', '.join(_ROLES)}")
    content = message.raw("content")
    if isinstance(content, list):
        texts = []
        for part in message.objects("content", _MOST_PARTS):
            part.only({"type", "text"})
            if part.text("type", 20) != "text" or not part.has("text"):
                raise message.wrong("content", "holds a part that is not of type text: only text is read here")
            texts.append(part.text("text") or "")
        content = "".join(texts)
    if not isinstance(content, str):
        raise message.wrong("content", "is neither a text nor a list of text parts")
    return _ROLES[role], content


def _stops(fields: Fields) -> tuple[str, ...]:
    value = fields.raw("stop")
    if isinstance(value, str):
        fields = Fields({"stop": [value]})
    return fields.texts("stop", _MOST_STOPS, _LONGEST_STOP) or ()
