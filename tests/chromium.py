"""Headless Chromium for tests: opens a page, presses its keys, clicks, and says what the page shows and complains of.

It speaks the DevTools protocol over two pipes: no package, no port.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 60
_KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Escape": 27, "Tab": 9, "Enter": 13}


class Chromium:
    """One page in a browser of its own. complaints: errors and warnings of its console, and exceptions."""

    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            pytest.skip("no chromium: apt-get install chromium")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.downloads = Path(self._profile.name) / "downloads"
        self.complaints: list[str] = []
        self._buffer = b""
        self._number = 0
        self._start(program)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._page(f"{domain}.enable")
        self.look(1280, 900)
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def _start(self, program: str) -> None:
        to_read, to_write = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_read[0], to_write[1])]
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command = [program, *flags, f"--user-data-dir={self._profile.name}", "about:blank"]
        given = ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", *command]
        self._process = subprocess.Popen(
            given, pass_fds=theirs, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        for fd in (to_read[0], to_write[1], *theirs):
            os.close(fd)
        self._in, self._out = to_read[1], to_write[0]

    def look(self, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """A screen of so many pixels, and the theme its owner prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._page("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._page("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path, fragment: str = "") -> None:
        """Load a page from disk, anew, and wait until it shows something."""
        self._page("Page.navigate", url="about:blank")
        self._page("Page.navigate", url=page.resolve().as_uri() + fragment)
        self.wait("location.protocol === 'file:' && document.readyState === 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        done = self._page("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise AssertionError(f"{expression}: {done['exceptionDetails']['exception'].get('description')}")
        return done["result"].get("value")

    def text(self, selector: str) -> str:
        """What the first element of a CSS selector shows."""
        return self.ask(f"document.querySelector({json.dumps(selector)}).innerText")

    def texts(self, selector: str) -> list[str]:
        return self.ask(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.innerText)")

    def wait(self, condition: str) -> None:
        """Until an expression is true. Raises AssertionError if it does not become so."""
        self.wait_for(lambda: self.ask(condition), condition)

    def wait_for(self, condition: Callable[[], Any], what: str = "") -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, f"never true: {what}: {self.complaints}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """A key as a person presses it: a letter, or one of _KEYS."""
        text = {"text": key} if len(key) == 1 else {}
        code = _KEYS.get(key, ord(key[0].upper()))
        self._page("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self._page("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def click(self, selector: str) -> None:
        """The mouse on the middle of the first element of a CSS selector."""
        at = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{at}.scrollIntoView({{block: 'center'}})")
        x, y = self.ask(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({at}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self._page("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, value: str) -> None:
        """An option of a select element."""
        at = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{at}.value = {json.dumps(value)}; {at}.dispatchEvent(new Event('change'))")

    def screenshot(self, whole: bool = False) -> bytes:
        """What is seen as a PNG file. whole: of all that one could scroll to."""
        if whole:
            size = self._page("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            done = self._page("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        else:
            done = self._page("Page.captureScreenshot")
        return base64.b64decode(done["data"])

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)
        with_group = os.getpgid(self._process.pid)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(with_group, signal.SIGKILL)
            self._process.wait()
        self._profile.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _page(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        data = json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        while data:
            data = data[os.write(self._in, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._hear(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._out], [], [], _PATIENCE)[0], "Chromium does not answer"
            piece = os.read(self._out, 1 << 20)
            assert piece, "Chromium ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _hear(self, event: dict[str, Any]) -> None:
        method, said = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
