"""`duomem serve`: binds, loads the student on the engine's thread, answers until SIGTERM or Ctrl-C.

The one place that knows uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from duomem.core.errors import ConfigError, printable
from duomem.device.agent.evaluate import PlayConfig
from duomem.device.serve.access import TOKEN_ENV, AsgiApp, is_loopback
from duomem.device.serve.app import make_app
from duomem.device.serve.engine_thread import EngineThread
from duomem.device.serve.metrics import Metrics
from duomem.device.serve.student import Student

_CONNECTIONS_BESIDE = 64
"""Most connections beside those that wait in the queue."""
_HEADER_BYTES = 32 << 10
_LAST_SECONDS = 5
"""After the time of grace, in which clients that do not read are left."""


@dataclass(frozen=True)
class ServeConfig:
    """What is served and how.

    pack: memories that /v1/act plays with, None for none. play: how its episodes go, and the engine's device and
    context. host, port: where to listen; 0 for any free port. token: what clients have to send, None for none, which
    only loopback allows. queue: most requests that wait. kept: most sessions kept for their prefixes. episodes,
    idle_seconds: see Episodes. grace_seconds: in which requests may end once the server is to stop.
    """

    bundle: Path
    pack: Path | None = None
    play: PlayConfig = field(default_factory=PlayConfig)
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    queue: int = 128
    kept: int = 4
    episodes: int = 4
    idle_seconds: float = 600.0
    grace_seconds: float = 30.0


def serve(config: ServeConfig, tell: Callable[[str], None] = print) -> None:
    """Serve until this process is told to stop (SIGTERM, SIGINT). tell: gets the lines for the user.

    Raises ConfigError if the extra `serve` is missing, or the address is not to be had; what Student.load raises.
    """
    check_installed()
    with contextlib.closing(listen(config.host, config.port, config.token)) as listener:
        metrics = Metrics()
        thread = EngineThread(config.queue, metrics)
        try:
            student = thread.call(
                lambda: Student.load(
                    config.bundle,
                    config.pack,
                    config.play,
                    metrics,
                    kept=config.kept,
                    episodes=config.episodes,
                    idle_seconds=config.idle_seconds,
                )
            )
            server = make_server(
                make_app(student, thread, metrics, config.token), thread, config.queue, config.grace_seconds, tell
            )
            host, port = listener.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
            tell(f"{printable(student.reader.name)} is served at {url} (Ctrl-C stops)")
            with _signals_end_here():
                server.run(sockets=[listener])
        finally:
            thread.stop()
            thread.join()


def check_installed() -> None:
    """Raises ConfigError if the extra `serve` is not installed."""
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise ConfigError(f"serving needs the extra `serve` ({name} is missing): pip install 'duomem[serve]'")


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A socket bound to `host`. Raises ConfigError if others than this machine could reach it and there is no token, or
    the address is not to be had.
    """
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: others can reach this address, so a token is needed: put one into the environment "
            f"variable {TOKEN_ENV}, or name another with --token-env"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as e:
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({e}): give another") from None


def make_server(
    app: AsgiApp,
    thread: EngineThread,
    queue: int,
    grace_seconds: float,
    tell: Callable[[str], None] = lambda line: None,
) -> Any:
    """uvicorn's server, not yet run. `should_exit` ends it: what is asked then has `grace_seconds`, and is told after
    them that the server stops. It writes no log.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            with contextlib.suppress(OSError):  # who started it may be gone
                tell(f"stopping: requests have {grace_seconds:g} s to end")
            cut = asyncio.get_running_loop().call_later(grace_seconds, thread.stop)
            await super().shutdown(sockets)
            cut.cancel()

    return Server(
        uvicorn.Config(
            app,  # pyright: ignore[reportArgumentType]
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=queue + _CONNECTIONS_BESIDE,
            h11_max_incomplete_event_size=_HEADER_BYTES,
            timeout_graceful_shutdown=round(grace_seconds) + _LAST_SECONDS,
        )
    )


@contextlib.contextmanager
def _signals_end_here() -> Iterator[None]:
    """uvicorn raises the signals that stopped it once more when it is done: here they have had their effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
