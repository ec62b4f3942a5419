"""The server's paths. Nothing here waits for the model: work goes to the engine's thread, its pieces come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from duomem.device.serve.access import Access, AsgiApp
from duomem.device.serve.act_request import read_act
from duomem.device.serve.api_error import ApiError, failed
from duomem.device.serve.completion_request import CompletionRequest
from duomem.device.serve.engine_thread import EngineThread, Ticket
from duomem.device.serve.generation import Piece
from duomem.device.serve.http_io import LEFT, EventStream, disconnected, event, json_response, read_request, refusal
from duomem.device.serve.metrics import Metrics
from duomem.device.serve.openai_objects import Answer
from duomem.device.serve.student import Student

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class Service:
    """Answers the requests of all paths. student: used on `thread` alone, but for its reader."""

    def __init__(self, student: Student, thread: EngineThread, metrics: Metrics) -> None:
        self._student, self._thread, self._metrics = student, thread, metrics
        self._created = int(time.time())
        names = {id: name for name, id in student.reader.tokenizer.special_tokens.items()}
        self._token_text = lambda id: names.get(id) or student.reader.tokenizer.decode([id])

    async def chat(self, request: Request) -> Any:
        """POST /v1/chat/completions"""
        return await self._complete(request, self._student.reader.read_chat)

    async def completion(self, request: Request) -> Any:
        """POST /v1/completions"""
        return await self._complete(request, self._student.reader.read_completion)

    async def act(self, request: Request) -> Any:
        """POST /v1/act"""
        started = time.perf_counter()
        call = await read_request(request, read_act)
        ticket = self._thread.submit(lambda: self._student.act(call), ahead=True)
        (answer,) = await self._all(request, ticket)
        self._metrics.observe("request_seconds", time.perf_counter() - started)
        return json_response(answer)

    async def end(self, request: Request) -> Any:
        """DELETE /v1/act/ID"""
        id = request.path_params["id"]
        (answer,) = await self._all(request, self._thread.submit(lambda: self._student.end(id), ahead=True))
        return json_response(answer)

    async def models(self, request: Request) -> Any:
        """GET /v1/models"""
        return json_response({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Any:
        """GET /v1/models/NAME"""
        if request.path_params["name"] != self._student.reader.name:
            raise ApiError(404, "there is no such model here: see /v1/models", "model", "model_not_found")
        return json_response(self._model())

    async def health(self, request: Request) -> Any:
        """GET /health"""
        return json_response({"status": "ok"})

    async def metrics(self, request: Request) -> Any:
        """GET /metrics"""
        from starlette.responses import PlainTextResponse

        return PlainTextResponse(self._metrics.text(), media_type="text/plain; version=0.0.4")

    def _model(self) -> dict[str, Any]:
        reader = self._student.reader
        return {
            "id": reader.name,
            "object": "model",
            "created": self._created,
            "owned_by": "duomem",
            "max_model_len": reader.context_length,
        }

    async def _complete(self, request: Request, read: Callable[[dict[str, Any]], CompletionRequest]) -> Any:
        started = time.perf_counter()
        asked = await read_request(request, read)
        ticket = self._thread.submit(lambda: self._student.generate(asked))
        answer = Answer(asked, self._student.reader.name, self._token_text)
        if asked.stream:
            return EventStream(self._events(ticket, answer, started), lambda: self._thread.leave(ticket))
        pieces = await self._all(request, ticket, started)
        self._metrics.observe("request_seconds", time.perf_counter() - started)
        return json_response(answer.whole(pieces))

    async def _all(self, request: Request, ticket: Ticket, started: float | None = None) -> list[Any]:
        """All that the work yields. started: when the request came, if its first item is to be timed."""
        items = asyncio.ensure_future(self._collect(ticket, started))
        gone = asyncio.ensure_future(disconnected(request.receive))
        try:
            await asyncio.wait({items, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not items.done():
                raise ApiError(LEFT, "the client left")
            return items.result()
        finally:
            items.cancel()
            gone.cancel()
            self._thread.leave(ticket)

    async def _collect(self, ticket: Ticket, started: float | None) -> list[Any]:
        found = []
        async for item in ticket.items():
            if not found and started is not None:
                self._metrics.observe("first_token_seconds", time.perf_counter() - started)
            found.append(item)
        return found

    async def _events(self, ticket: Ticket, answer: Answer, started: float) -> AsyncIterator[bytes]:
        """The lines of a stream of server-sent events."""
        letters = tokens = reused = 0
        try:
            for chunk in answer.first():
                yield event(chunk)
            async for piece in ticket.items():
                assert isinstance(piece, Piece)
                if not tokens:
                    self._metrics.observe("first_token_seconds", time.perf_counter() - started)
                yield event(answer.chunk(piece, letters))
                letters, tokens, reused = letters + len(piece.text), tokens + len(piece.tokens), piece.reused
            for chunk in answer.last(tokens, reused):
                yield event(chunk)
            self._metrics.observe("request_seconds", time.perf_counter() - started)
        except ApiError as e:
            yield event(e.to_json())
        yield b"data: [DONE]\n\n"


def make_app(student: Student, thread: EngineThread, metrics: Metrics, token: str | None) -> AsgiApp:
    """The ASGI app. token: what clients have to send, None for those of this machine alone (see Access)."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    service = Service(student, thread, metrics)

    def route(path: str, endpoint: Callable[[Request], Awaitable[Any]], *methods: str) -> Route:
        async def counted(request: Request) -> Any:
            try:
                response = await endpoint(request)
            except ApiError as e:
                response = refusal(e)
            status = getattr(response, "status_code", 200)
            metrics.add("requests_total", path=path, status=str(status))
            return response

        return Route(path, counted, methods=list(methods))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(
            ApiError(error.status_code, f"{request.method}: {error.detail}, see docs/serve.md for the paths")
        )

    async def failure(request: Request, error: Exception) -> Response:
        return refusal(failed(error))

    app = Starlette(
        routes=[
            route("/v1/chat/completions", service.chat, "POST"),
            route("/v1/completions", service.completion, "POST"),
            route("/v1/act", service.act, "POST"),
            route("/v1/act/{id}", service.end, "DELETE"),
            route("/v1/models", service.models, "GET"),
            route("/v1/models/{name:path}", service.model, "GET"),
            route("/health", service.health, "GET"),
            route("/metrics", service.metrics, "GET"),
        ],
        exception_handlers={HTTPException: http_error, Exception: failure},
    )
    return Access(app, refusal, token)
