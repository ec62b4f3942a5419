"""A catalogue to test with: keys, packs of any version, a loopback server that can be made hostile."""

from __future__ import annotations

import http.server
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from duomem.memory_packs.catalogue.keys import new_key
from duomem.memory_packs.catalogue.publish import publish
from duomem.memory_packs.catalogue.sources import Source, read_root
from duomem.memory_packs.catalogue.student import WEIGHTS
from duomem.memory_packs.manifest import Release
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack

Hook = Callable[[http.server.BaseHTTPRequestHandler, str], bool]
"""hook(handler, path) answers a request itself and returns True, or leaves it to the server."""


def make_pack(folder: Path, name: str, version: str, tasks: int = 2) -> Path:
    """A pack of `tasks` memories, in `folder`."""
    memories = [
        Memory(
            f"put a clean mug in shelf {n}.",
            "pick_clean_then_place_in_recep",
            "mug",
            "shelf",
            ("take mug", f"clean mug {version}"),
            f"{n:064x}",
            f"group-{n}",
        )
        for n in range(tasks)
    ]
    path = folder / f"{name}-{version}.dmpack"
    write_pack(path, name, "expert/1", "0" * 64, memories, release=Release(version=version, licence="Apache-2.0"))
    return path


def write_adapter(folder: Path, model: str = "tiny") -> Path:
    """An adapter of one tensor."""
    folder.mkdir(parents=True)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "duomem.json").write_text(json.dumps({"config": {"model": model}}))
    (folder / "log.jsonl").write_text("not published\n")
    return folder


class Keeper:
    """A catalogue's keeper: `folder` is the catalogue, `keys` the folder of all its keys."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder, self.keys = root, root / "catalogue", root / "keys"
        for role in ("root", "root", "targets", "snapshot", "timestamp"):
            new_key(self.keys, role)

    def publish(self, *versions: str, name: str = "expert", days: int = 30, tasks: int = 2) -> None:
        """Publish packs called `name`; of no versions, sign again."""
        packs = [make_pack(self.root, name, version, tasks) for version in versions]
        publish(self.folder, packs, [self.keys], threshold=2, days=days)

    def source(self, url: str, *mirrors: str) -> Source:
        """The catalogue served at `url`, with its first root trusted."""
        return Source(url, read_root(self.folder / "metadata" / "1.root.json"), mirrors)


class _Handler(http.server.SimpleHTTPRequestHandler):
    hook: Hook | None = None
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range", "")))
        if self.hook is not None and type(self).hook(self, self.path):  # type: ignore[misc]
            return
        path = Path(self.translate_path(self.path))
        begins = self.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        if not begins or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begins}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[int(begins) :])

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server:
    """Serves `folder` at `url`. asked: what was asked for, as (path, Range). hook: set it to make it hostile."""

    def __init__(self, folder: Path) -> None:
        self._type = type("Handler", (_Handler,), {"asked": [], "hook": None})
        self.server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *args: self._type(*args, directory=str(folder))
        )
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.asked: list[tuple[str, str]] = self._type.asked  # type: ignore[attr-defined]

    def hook(self, answer: Hook | None) -> None:
        """From now on `answer` is asked first."""
        self._type.hook = staticmethod(answer) if answer else None  # type: ignore[attr-defined]


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A loopback server of `folder`."""
    server = Server(folder)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        thread.join()


def drip(handler: http.server.BaseHTTPRequestHandler, headers: bool = False) -> bool:
    """Send a byte now and then, for ever: of the body, or already of the headers."""
    try:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: " if headers else b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return True


def pour(handler: http.server.BaseHTTPRequestHandler) -> bool:
    """Send bytes as fast as they are taken, for ever."""
    try:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" " * 65536)
    except OSError:
        return True
