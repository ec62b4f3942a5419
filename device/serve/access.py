"""Who may ask: a token, or on loopback without one, programs of this machine alone.

A web page in a browser of this machine is kept out: it can send no JSON here without asking first, and no other name
may stand for this address.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from duomem.core.errors import ConfigError
from duomem.device.serve.api_error import ApiError

TOKEN_ENV = "DUOMEM_SERVE_TOKEN"
_SHORTEST = 16
_LONGEST = 512

AsgiApp = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Refuse = Callable[[ApiError], Any]


def read_token(name: str | None) -> str | None:
    """The token in the environment variable `name`; for None in TOKEN_ENV, if that is set.

    Raises ConfigError if the variable given by name is not set, or holds no fit token. No message shows the token.
    """
    token = os.environ.get(name or TOKEN_ENV)
    if token is None:
        if name is None:
            return None
        raise ConfigError(f"--token-env {name}: this environment variable is not set: put the token into it")
    if not _SHORTEST <= len(token) <= _LONGEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError(
            f"environment variable {name or TOKEN_ENV}: its token is not {_SHORTEST} to {_LONGEST} printable ASCII "
            'characters without a space: make one with python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server bound to `host`. Raises ConfigError for a name with no address."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"--host {host}: no such address ({e}): give one of this machine's") from None
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


class Access:
    """Passes on to `app` what may ask, and answers the rest with `refuse`."""

    def __init__(self, app: AsgiApp, refuse: Refuse, token: str | None) -> None:
        """token: what a client has to send; None on loopback alone."""
        self._app, self._refuse, self._token = app, refuse, token

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """An ASGI call."""
        app = self._app
        if scope["type"] == "http" and (error := self._check(scope)) is not None:
            app = self._refuse(error)
        await app(scope, receive, send)

    def _check(self, scope: dict[str, Any]) -> ApiError | None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1")
            if not _is_local_name(host):
                return ApiError(
                    403, "header Host: is no name of loopback, and this server has no token", code="bad_host"
                )
        elif scope["path"] != "/health":
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token.encode()):
                return ApiError(401, "the API key is missing or wrong", code="invalid_api_key")
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if scope["method"] == "POST" and kind != b"application/json":
            return ApiError(415, "header Content-Type: is not application/json", code="unsupported_media_type")
        return None


def _is_local_name(host: str) -> bool:
    """Whether a Host header names loopback."""
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
