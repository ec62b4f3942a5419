"""An OpenAI-compatible endpoint on loopback that plays the expert, behind thoughts, bad formatting and faults.

It knows the game from the conversation alone, and reads nothing of what it answered before: the expert's commands
follow from what was seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from duomem.train.teachers.expert import Expert

FAULTS = (
    *("500", "429", "429 date", "timeout", "cut", "cut chunk", "malformed", "shape", "deep", "empty", "endless"),
    *("drip", "hang up", "endless error"),
)
_DRESSES = (
    "Thought: {thought}\nAction: {command}",
    "Thought: {thought}\nAction: {command}\nObservation: You arrive somewhere.\nThought: done\nAction: look",
    "**Thought:** {thought}\n\n**Action:** `{shout}`",
    "{thought}\n\n```\n> {command}\n```",
    '1. Thought: {thought}\n2. Action: "{command}."',
    "<think>\n{thought}\n</think>\n\n{title}",
    '{{"thought": "{thought}", "action": "{command}"}}',
    "I think: {thought}\nACTION 1 : {command}\n",
)
_LISTED = "\n\nAdmissible commands: "
_TASK = "Your task is to: "


def expert_command(messages: list[dict[str, str]]) -> str:
    """What the expert, without priors, does next in the last game of a conversation."""
    users = [m["content"].partition(_LISTED)[0] for m in messages if m["role"] == "user"]
    start = max(i for i, text in enumerate(users) if _TASK in text)
    first = users[start]
    intro = first[first.index("-= Welcome") :]
    expert, text = Expert(intro, {}), intro
    for after in users[start + 1 :]:
        expert.observe(expert.act(_Seen(text)), _Seen(after))
        text = after
    return expert.act(_Seen(text))


class _Seen:
    """Of an observation the expert reads the text alone."""

    def __init__(self, text: str) -> None:
        self.text = text


def dressed(command: str, messages: list[dict[str, str]], seed: object) -> str:
    """The command as a talkative model would say it; the same conversation gets the same words."""
    digest = hashlib.sha256(json.dumps([messages, seed]).encode()).digest()
    thought = f"The next step is number {len(messages)}."
    dress = _DRESSES[digest[0] % len(_DRESSES)]
    return dress.format(thought=thought, command=command, shout=command.upper(), title=command.capitalize())


class FakeEndpoint:
    """url: where it listens. asked: requests, by kind of what they were answered with. begun: for each game's first
    observation, how often it was asked for the first command. rate: share of requests that are answered with a fault
    of `faults`. delay: seconds before every answer. key: the one demanded, None for any.
    """

    def __init__(
        self,
        rate: float = 0.0,
        faults: tuple[str, ...] = FAULTS,
        delay: float = 0.0,
        key: str | None = None,
        seed: int = 0,
        hang: float = 30.0,
    ) -> None:
        self.rate, self.faults, self.delay, self.key, self.hang = rate, faults, delay, key, hang
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.questions: list[dict[str, object]] = []
        self._rng = random.Random(seed)

    def answer(self, question: dict) -> str:
        """The text of the next message. A subclass plays otherwise."""
        messages = question["messages"]
        return dressed(expert_command(messages), messages, question.get("seed"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection stays."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        question = json.loads(await reader.readexactly(int(headers["content-length"])))
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            self.asked["401"] += 1
            wrong = f"Incorrect API key provided: {headers.get('authorization')}\x1b[31m"
            await _send(writer, 401, json.dumps({"error": {"message": wrong}}).encode())
            return True
        fault = self._rng.choice(self.faults) if self._rng.random() < self.rate else "good"
        self.asked[fault] += 1
        self.questions = [*self.questions[-99:], question]
        last = question["messages"][-1]["content"]
        if fault == "good" and _TASK in last:
            self.begun[last.partition(_LISTED)[0]] += 1
        if fault != "good":
            return await self._fail(fault, writer, question)
        await asyncio.sleep(self.delay)
        await _send(writer, 200, self._body(question, self.answer(question)))
        return True

    @staticmethod
    def _body(question: dict, text: str) -> bytes:
        prompt = sum(len(m["content"]) for m in question["messages"]) // 4
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": prompt, "completion_tokens": len(text) // 4, "total_tokens": prompt + len(text) // 4}
        found = {"id": "x", "object": "chat.completion", "created": 0, "model": question["model"]}
        return json.dumps({**found, "choices": [choice], "usage": usage}).encode()

    async def _fail(self, fault: str, writer: asyncio.StreamWriter, question: dict) -> bool:
        body = self._body(question, "Action: look")
        if fault == "500":
            await _send(writer, 500, b'{"error": {"message": "out of memory"}}')
        elif fault == "429":
            await _send(writer, 429, b"slow down", "Retry-After: 0.02")
        elif fault == "429 date":
            await _send(writer, 429, b"slow down", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT")
        elif fault == "malformed":
            await _send(writer, 200, body[:-9])
        elif fault == "shape":
            await _send(writer, 200, b'{"choices": [{"message": null}], "usage": []}')
        elif fault == "deep":
            await _send(writer, 200, b"[" * 100_000 + b"]" * 100_000)
        elif fault == "empty":
            await _send(writer, 200, self._body(question, " \n"))
        else:
            await self._break_off(fault, writer, body)
            return False
        return True

    async def _break_off(self, fault: str, writer: asyncio.StreamWriter, body: bytes) -> None:
        status = "500 Error" if fault == "endless error" else "200 OK"
        chunked = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        if fault == "timeout":
            await asyncio.sleep(self.hang)
        elif fault == "cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])
        elif fault == "cut chunk":
            writer.write(chunked + b"%x\r\n%s\r\n" % (len(body), body))
        elif fault in ("endless", "endless error"):
            writer.write(chunked)
            while not writer.is_closing():
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
        elif fault == "drip":
            writer.write(chunked)
            while not writer.is_closing():
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.02)

    @contextmanager
    def serving(self) -> Iterator[FakeEndpoint]:
        """Listen on a free port of loopback, in a thread of its own."""
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 22))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(_close(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _close(server: asyncio.AbstractServer) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: str) -> None:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    await writer.drain()
