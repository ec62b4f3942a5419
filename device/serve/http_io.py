"""Requests in and responses out: bodies bounded in bytes and time, JSON, server-sent events, clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from duomem.device.serve.api_error import ApiError
from duomem.device.serve.body import MOST_BYTES, parse_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

LEFT = 499
"""The status (nginx's) of what nobody is there to be told."""
_BODY_SECONDS = 30.0
"""In which a request's body has to be here."""


class EventStream:
    """A response of server-sent events; `leave` is called when all is sent or the client has gone."""

    def __init__(self, events: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        self._events, self._leave = events, leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """An ASGI call."""
        sent = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            await asyncio.wait({sent, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sent.done():
                sent.result()
        finally:
            sent.cancel()
            gone.cancel()
            self._leave()

    async def _send(self, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def read_request(request: Request, read: Callable[[dict[str, Any]], Any]) -> Any:
    """What `read` makes of the request's body, off the event loop: a long text takes a while to be tokens.

    Raises ApiError if the body is too large, too slow or cut, and what `read` raises.
    """
    from starlette.requests import ClientDisconnect

    try:
        data = await asyncio.wait_for(_body(request), _BODY_SECONDS)
    except asyncio.TimeoutError:
        raise ApiError(408, f"the body was not here within {_BODY_SECONDS:g} s", code="timeout") from None
    except ClientDisconnect:
        raise ApiError(LEFT, "the client left") from None
    return await asyncio.to_thread(lambda: read(parse_body(data)))


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise ApiError(413, f"the body is larger than {MOST_BYTES} bytes", code="too_large")
    return bytes(data)


async def disconnected(receive: Any) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def json_response(value: dict[str, Any]) -> Response:
    """A response of status 200."""
    from starlette.responses import JSONResponse

    return JSONResponse(value)


def refusal(error: ApiError) -> Response:
    """What a client is told of an error."""
    from starlette.responses import JSONResponse

    return JSONResponse(error.to_json(), error.status, error.headers)


def event(value: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
