"""What a client is told when a request fails: an HTTP status and OpenAI's error object."""

from __future__ import annotations

import sys
from typing import Any

from duomem.core.errors import UserError, printable

_LONGEST = 500


class ApiError(Exception):
    """A request that is not answered.

    status: of HTTP. message: one printable line. param: the field that is wrong. code: a word for programs.
    retry_after: seconds after which the same request may do.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(printable(" ".join(message[:_LONGEST].split())))
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after

    def to_json(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response beside those of its JSON."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def wrong(param: str, message: str, code: str | None = None) -> ApiError:
    """The error of a request whose field `param` is not as it has to be."""
    return ApiError(400, f"{param}: {message}", param, code)


def failed(error: BaseException) -> ApiError:
    """What a client is told of an error of the server's own, which is printed in one line on the error stream."""
    known = isinstance(error, UserError)
    said = str(error) if known else f"{type(error).__name__}: {error}"
    print(f"duomem: error: a request failed: {printable(said)}", file=sys.stderr)
    return ApiError(500, said if known else "the server failed on this request")
