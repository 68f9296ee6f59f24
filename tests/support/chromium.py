"""A headless Chromium that opens a page, told by its DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

_LAUNCH = """
import fcntl, os, sys
read, write, *command = sys.argv[1:]
pipes = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in (read, write)]
for pipe, number in zip(pipes, (3, 4)):  # where Chromium reads commands, and writes answers
    os.dup2(pipe, number)
    os.close(pipe)
os.execvp(command[0], command)
"""
_PLAIN = ("--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
_UNTIL_DRAWN = """
new Promise(done => {
  const look = () => document.querySelector(".chart") === null || Bokeh.documents.at(-1)?.is_idle
    ? requestAnimationFrame(() => requestAnimationFrame(done))
    : setTimeout(look, 10);
  requestAnimationFrame(look);  // what a change of colours calls comes first
})
"""
_PIXELS = """
(() => {
  const canvases = root => [...root.querySelectorAll("*")].flatMap(
    one => one.tagName === "CANVAS" ? [one] : one.shadowRoot ? canvases(one.shadowRoot) : []);
  const wanted = getComputedStyle(document.documentElement).getPropertyValue("--COLOUR");
  const rgb = [1, 3, 5].map(at => parseInt(wanted.trim().slice(at, at + 2), 16));
  const found = [];
  for (const canvas of canvases(document.getElementById("CHART"))) {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    if (!canvas.width) continue;
    // from a copy: Chromium complains of a canvas that is read several times
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] > 0 && rgb.every((each, i) => Math.abs(data[at + i] - each) < 12)) {
        const pixel = at / 4;
        found.push([box.x + (pixel % canvas.width) / scale,
                    box.y + Math.floor(pixel / canvas.width) / scale]);
      }
    }
  }
  return [found.length, found[found.length >> 1] ?? [0, 0]];
})()
"""


class Chromium:
    """The browser, with one page."""

    def __init__(self, path: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs, ours = os.pipe()
        ours_read, theirs_write = os.pipe()
        self._to, self._from = os.fdopen(ours, "wb"), os.fdopen(ours_read, "rb")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _LAUNCH, str(theirs), str(theirs_write), path),
                *("--headless=new", "--no-sandbox", "--remote-debugging-pipe", *_PLAIN),
                f"--user-data-dir={self._profile.name}",
            ],
            env={"HOME": self._profile.name, "PATH": os.environ["PATH"]},
            pass_fds=(theirs, theirs_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(theirs_write)
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self._buffer = b""

    def __enter__(self) -> Self:
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._to.close()
        self._from.close()
        self._profile.cleanup()

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            asked["sessionId"] = self._session
        self._to.write(json.dumps(asked).encode() + b"\0")
        self._to.flush()
        while (answer := self._next()).get("id") != self._number:
            self._events.append(answer)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._from.fileno(), 2**20)
            assert read, "chromium has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        assert parsed.get("method") != "Page.javascriptDialogOpening", "a script of it ran"
        return parsed

    def open(self, path: Path, *, width: int = 1200, height: int = 900) -> None:
        """Open the file, and wait until the charts are drawn."""
        self._events.clear()
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.prefer(dark=False)
        self._ask("Page.navigate", url=path.absolute().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())
        self.run(_UNTIL_DRAWN)

    def pixels(self, chart: str, colour: str) -> tuple[int, tuple[float, float]]:
        """Return how many pixels of the chart have the style sheet's colour, and where one is."""
        count, (x, y) = self.run(_PIXELS.replace("CHART", chart).replace("COLOUR", colour))
        return count, (x, y)

    def prefer(self, *, dark: bool) -> None:
        """Set what the user prefers, and wait until the charts are drawn."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])
        self.run(_UNTIL_DRAWN)

    def run(self, script: str) -> Any:
        """Return the value of the JavaScript expression."""
        answer = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, x: float, y: float) -> None:
        """Click there."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            how = {"button": "none" if kind == "mouseMoved" else "left", "clickCount": 1}
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **how)

    def picture(self) -> bytes:
        """Return the whole page as a PNG."""
        answer = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    @property
    def complaints(self) -> list[str]:
        """What the console said, and each request for anything but the file itself."""
        found = []
        for event in self._events:
            parameters = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(json.dumps(parameters["exceptionDetails"])[:2000])
                case "Runtime.consoleAPICalled" if parameters["type"] in {"error", "warning"}:
                    found.append(json.dumps(parameters["args"])[:2000])
                case "Log.entryAdded" if parameters["entry"]["level"] in {"error", "warning"}:
                    found.append(parameters["entry"]["text"])
                case "Network.requestWillBeSent":
                    url = parameters["request"]["url"]
                    if not url.startswith(("file:", "data:", "blob:")):
                        found.append(url)
        return found


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Give a browser; the test is skipped if there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with Chromium(path) as browser:
        yield browser
