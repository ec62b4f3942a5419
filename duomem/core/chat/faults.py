"""How asking a chat model fails where whoever asks can still go on.

Everything else that a ChatModel raises is a plain ChatError: the endpoint is not there, or refuses.
"""

from __future__ import annotations

from duomem.core.errors import ChatError


class NoAnswer(ChatError):
    """The model is there and answered, again and again, with nothing that can be used."""


class PromptTooLong(ChatError):
    """The messages do not fit into the model's context."""
