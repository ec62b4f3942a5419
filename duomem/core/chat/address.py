"""Where a chat model is, and the key it is asked with: from the environment, and never shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from duomem.core.chat.retry import Backoff
from duomem.core.errors import ChatError

KEY = "OPENAI_API_KEY"
URL = "OPENAI_BASE_URL"


@dataclass(frozen=True)
class Endpoint:
    """Where a model is and how it is asked. url: up to and with its /v1, None for the client's own. key: never shown.

    timeout: most seconds that one answer may take.
    """

    model: str
    url: str | None = None
    key: str = ""
    timeout: float = 120.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        """Raises ChatError for an address that is none, or that holds a secret."""
        if self.url is not None:
            _check_url(self.url)

    def __repr__(self) -> str:
        """Without the key."""
        return f"Endpoint({self.model!r}, {self.url!r})"

    @classmethod
    def of_environment(
        cls, model: str, url: str | None, key_env: str | None = None, timeout: float = 120.0
    ) -> Endpoint:
        """The endpoint at `url`, else at $OPENAI_BASE_URL, else the client's own, with the key in the variable
        `key_env`, $OPENAI_API_KEY by default. Raises ChatError if that is missing; only an endpoint that was named may
        go without.
        """
        url = url or os.environ.get(URL) or None
        key = os.environ.get(key_env or KEY, "")
        if not key and (key_env or url is None):
            raise ChatError(f"${key_env or KEY}: no key in this environment variable: set it, or name another one")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ChatError(f"${key_env or KEY}: holds no key: one has neither spaces nor letters beyond ASCII")
        return cls(model, url, key, timeout)


def _check_url(url: str) -> None:
    if set("@?#") & set(url):
        raise ChatError("--endpoint: a key in an address ends up in logs: put it into an environment variable")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise ChatError(f"--endpoint {url}: is no address: give one as in http://localhost:8000/v1")
