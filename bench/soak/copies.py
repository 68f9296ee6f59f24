"""One copy: started, watched until it ends, and returned as plain values."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from bench.soak.pool import StruckPool
from bench.soak.scene import Mode, Scene
from pipecopy import Config, copy_table
from pipecopy.errors import (
    CallTimeoutError,
    DatabaseError,
    FullCopyTimeoutError,
    PipecopyError,
    TableMismatchError,
)
from pipecopy.events import Event
from pipecopy.postgres import PostgresPool
from tests.support.checks import options

_EXPECTED = {0, 3, 4, 5, 75, 124}
"""The exit codes that a fault may lead to."""
_STOPPED = {129: "SIGHUP", 130: "SIGINT", 143: "SIGTERM"}


@dataclass(frozen=True)
class Seen:
    """An event, and when the observer saw it, by time.monotonic()."""

    at: float
    event: Event


@dataclass(frozen=True)
class Ended:
    """How a copy ended."""

    mode: Mode
    outcome: str
    config: Config
    seconds: float
    """From its call, or its process's start, to its end."""
    report: dict[str, Any] | None
    """None if it was killed."""
    unexpected: str = ""
    """What is wrong with the way it ended."""
    seen: tuple[Seen, ...] = ()


class Copy(ABC):
    """A copy that is under way."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.began = time.monotonic()

    @property
    @abstractmethod
    def running(self) -> bool: ...

    @abstractmethod
    def ended(self) -> Ended:
        """Return how it ended; it must not be running."""

    @abstractmethod
    def stop(self) -> None:
        """End it, because the soak ends."""


class LibraryCopy(Copy):
    """`copy_table`, in a thread."""

    def __init__(self, scene: Scene, config: Config) -> None:
        super().__init__(config)
        target = scene.target_site.uri(scene.database("target").name)
        pool = PostgresPool({"source": scene.source_site.uri(scene.source.name), "target": target})
        self._pool = StruckPool(pool, scene.folder)
        self._seen: list[Seen] = []
        self._ended: Ended | None = None
        self._thread = threading.Thread(target=self._run, name="copy", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        pass  # it ends with this process, and its workers with it

    def ended(self) -> Ended:
        self._thread.join()
        if self._ended is None:
            raise RuntimeError("the copy's thread ended with an error")
        return self._ended

    def _run(self) -> None:
        outcome, unexpected = "complete", ""
        began = time.monotonic()
        try:
            report = copy_table(self.config, self._pool, "source", "target", observer=self._observe)
        except PipecopyError as error:
            seconds = time.monotonic() - began
            outcome = type(error).__name__
            unexpected = _what_is_wrong(error)
            if error.report is None:
                unexpected = f"the error has no report: {error}"
            else:
                report = error.report
        except BaseException as error:  # noqa: BLE001 - to be counted, whatever it is
            seconds = time.monotonic() - began
            outcome, unexpected = "internal error", f"{type(error).__name__}: {error}"
        else:
            seconds = time.monotonic() - began
        self._ended = Ended(
            mode="library",
            outcome=outcome,
            config=self.config,
            seconds=seconds,
            report=None if unexpected else report.to_dict(),
            unexpected=unexpected,
            seen=tuple(self._seen),
        )

    def _observe(self, event: Event) -> None:
        self._seen.append(Seen(time.monotonic(), event))


class CommandCopy(Copy):
    """`pipecopy copy`, in a process group of its own."""

    def __init__(self, scene: Scene, config: Config) -> None:
        super().__init__(config)
        self._scene = scene
        target = scene.target_site.uri(scene.database("target").name)
        self._out, self._err = scene.folder / "out", scene.folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pipecopy", "copy", *options(config)),
                    *(scene.source_site.uri(scene.source.name), target),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        scene.supervisor = self.process

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self) -> Ended:
        seconds = time.monotonic() - self.began
        code = self.process.wait()
        out = self._out.read_text()
        values: dict[str, Any] = json.loads(out) if out else {}
        error = values.get("error") or {}
        outcome = error.get("class", f"exit code {code}" if code else "complete")
        names = {number.name for number in self._scene.stop_signals}
        unexpected = ""
        has_report = values.get("run_id") is not None
        if code == -signal.SIGKILL and "SIGKILL" in names:
            outcome = "killed"
        elif _STOPPED.get(code) in names:
            outcome = "stopped by a signal"
        elif code not in _EXPECTED:
            unexpected = f"exit code {code}: {self._err.read_text()[-2000:]}"
        elif not has_report:
            unexpected = f"no report: {self._err.read_text()[-2000:]}"
        return Ended(
            mode="command",
            outcome=outcome,
            config=self.config,
            seconds=seconds,
            report=values if has_report else None,
            unexpected=unexpected,
        )


def _what_is_wrong(error: PipecopyError) -> str:
    """Return what a user would miss in the error, or that it should not have been raised."""
    expected = CallTimeoutError | FullCopyTimeoutError | DatabaseError | TableMismatchError
    if not isinstance(error, expected):
        return f"{type(error).__name__}: {error}"
    names_none = FullCopyTimeoutError | TableMismatchError  # the two may not fit at the start
    if not isinstance(error, names_none) and (error.side is None or error.call is None):
        return f"it names no side or no call: {error}"
    return ""
