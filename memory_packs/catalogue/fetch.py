"""Fetching from http, https and file addresses: bounded bytes, bounded time, goes on where a download stopped.

A server that sends a byte now and then is cut off by a timer, whatever it is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import ssl
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from duomem.core.progress import progress
from duomem.memory_packs.catalogue.tuf_api import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    FetcherInterface,
    SlowRetrievalError,
)

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Time that a catalogue is given. seconds: for all its metadata, and to begin with a pack. rate: bytes a second
    that a pack must come at, at least, on the whole. silence: seconds without a byte.
    """

    seconds: float = 60.0
    rate: float = 4096.0
    silence: float = 20.0


class Fetcher(FetcherInterface):
    """What python-tuf's updater downloads with. Everything ends at a common deadline; see `until`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._open: list[socket.socket] = []
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            Redirects(),
            _Http(self._open),
            _Https(self._open),
        ):
            self._opener.add_handler(handler)
        self._opener.addheaders = [("User-Agent", "duomem"), ("Accept-Encoding", "identity")]

    @contextlib.contextmanager
    def until(self, seconds: float) -> Iterator[None]:
        """Within it, what is not fetched after `seconds` is cut off."""
        self._deadline = time.monotonic() + seconds
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._cut()

    def resume(self, url: str, part: Path, length: int, title: str) -> None:
        """Download a file of `length` bytes to `part`, from where that ends, under a progress bar called `title`.

        Raises DownloadError. What has come by then stays in `part`; a server that cannot go on in the middle begins
        again. Never writes more than `length` bytes.
        """
        part.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() else 0
        if have == length:
            return
        with self.until(self._limits.seconds + (length - have) / self._limits.rate):
            start, pieces = self._from(url, have if have < length else 0)
            with open(part, "r+b" if start else "wb") as f, progress(None, title, length, "B", start) as bar:
                f.seek(start)
                f.truncate()
                for piece in pieces:
                    start += len(piece)
                    if start > length:
                        raise DownloadLengthMismatchError(f"more than {length} bytes")
                    f.write(piece)
                    bar.update(len(piece))
        if start < length:
            raise DownloadError(f"it ended after {start} of {length} bytes: the same command goes on there")

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._from(url, 0)[1]

    def _from(self, url: str, offset: int) -> tuple[int, Iterator[bytes]]:
        """Where the answer begins, `offset` or 0, and its pieces."""
        if url.startswith("file:"):
            return offset, self._file(url, offset)
        request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"} if offset else {})
        with self._faults():
            try:
                answer = self._opener.open(request, timeout=self._timeout())
            except urllib.error.HTTPError as e:
                e.close()
                if offset and e.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return self._from(url, 0)
                raise DownloadHTTPError(f"it answers {e.code}", e.code) from None
        told = str(answer.headers.get("Content-Range", ""))
        resumed = offset and answer.status == http.HTTPStatus.PARTIAL_CONTENT and told.startswith(f"bytes {offset}-")
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT and not resumed:
            answer.close()
            raise DownloadError("it answers with another part of the file than it was asked for")
        return offset if resumed else 0, self._pieces(answer)

    def _pieces(self, answer: Any) -> Iterator[bytes]:
        with self._faults(), contextlib.closing(answer):
            while piece := answer.read1(_CHUNK):
                self._timeout()
                yield piece
            self._timeout()

    def _file(self, url: str, offset: int) -> Iterator[bytes]:
        path = unquote(urlsplit(url).path)
        with self._faults(), open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise DownloadError(f"{path} is no file")
            f.seek(offset)
            while piece := f.read(_CHUNK):
                self._timeout()
                yield piece

    def _timeout(self) -> float:
        """Seconds to wait for the next bytes. Raises SlowRetrievalError after the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SlowRetrievalError("it is too slow")
        return min(self._limits.silence, left)

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """What goes wrong on the way, as python-tuf's DownloadError."""
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as e:  # URLError is an OSError
            self._timeout()
            reason = e.reason if isinstance(e, urllib.error.URLError) else e
            if isinstance(reason, TimeoutError):
                raise SlowRetrievalError("it sends nothing") from None
            if isinstance(reason, OSError) and reason.errno in (errno.ENOENT, errno.ENOTDIR):
                raise DownloadHTTPError("no such file", http.HTTPStatus.NOT_FOUND) from None
            raise DownloadError(str(getattr(reason, "strerror", None) or reason or type(e).__name__)) from None

    def _cut(self) -> None:
        """End every connection that is open: whoever waits for its bytes gets the end of them."""
        while self._open:
            with contextlib.suppress(OSError), self._open.pop() as connection:
                connection.shutdown(socket.SHUT_RDWR)


class _Watched(http.client.HTTPConnection):
    """Notes its socket as soon as there is one, before TLS is spoken on it."""

    opened: list[socket.socket]

    def connect(self) -> None:
        super().connect()
        self.opened.append(self.sock.dup())


class _WatchedTls(http.client.HTTPSConnection, _Watched):  # in this order: connect is HTTPS's, which calls _Watched's
    pass


def _connecting(kind: type[_Watched], opened: list[socket.socket]) -> Any:
    def connection(host: str, **options: Any) -> _Watched:
        made = kind(host, **options)
        made.opened = opened
        return made

    return connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, opened: list[socket.socket]) -> None:
        super().__init__()
        self._opened = opened

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connecting(_Watched, self._opened), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, opened: list[socket.socket]) -> None:
        super().__init__()
        self._opened = opened

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_connecting(_WatchedTls, self._opened), req, context=ssl.create_default_context())


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, from https to https alone."""

    max_redirections = 5

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        kind = urlsplit(newurl).scheme
        if kind != "https" and (kind != "http" or req.type == "https"):
            raise DownloadError(f"it sends on to {newurl[:200]!r}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
