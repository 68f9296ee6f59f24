"""Where the process begins and ends: signals, the two streams, the exit code.

Only what is needed to heed a signal and to say so is imported before the handlers are in place.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from pipecopy.cli.stop import StoppedBySignal, StopSignals
from pipecopy.cli.streams import LONGEST, Outlet, take_over
from pipecopy.redact import redact

if TYPE_CHECKING:
    from pipecopy.cli.endings import Ending

INTERNAL_ERROR = 70


def main(mask: Iterable[int]) -> NoReturn:
    """Run the command of sys.argv; end the process without waiting for what is stuck.

    `mask` has the signals that are to be blocked from now on: until now, all those are that stop
    the command.
    """
    signals = StopSignals()
    code = INTERNAL_ERROR
    try:
        signals.install()
        out, err = take_over()
        with suppress(OSError):  # dill asks for it; then a file is made, and must be removed again
            tempfile.gettempdir()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            ending = _run(sys.argv[1:], err, signals)
            signals.settle()
            code = ending.code
            _tell(ending.lines, _output(ending.text, ending.json), out, err)
        except StoppedBySignal as stop:  # outside of the command itself
            code = 128 + stop.signum
            _tell((f"{stop}; nothing more was done",), _output("", _stopped(stop, code)), out, err)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends in one line
        _last_line(redact(f"internal error: {type(error).__name__}: {error}"))
    os._exit(code)  # the interpreter's own exit would wait for a stuck stream


def _run(argv: list[str], err: Outlet, signals: StopSignals) -> Ending:
    from pipecopy.cli import app, endings  # noqa: PLC0415 - heavy: after the signal handlers

    command = app.parse(argv, os.environ)
    return endings.Ending(code=0) if command is None else command.run(err, signals)


def _stopped(stop: StoppedBySignal, code: int) -> dict[str, Any] | None:
    """Return what `--json` asks for; what makes it otherwise may not even be imported."""
    if "--json" not in sys.argv:
        return None
    return {"error": {"class": type(stop).__name__, "message": str(stop), "exit_code": code}}


def _output(text: str, report: dict[str, Any] | None) -> str:
    """Return what standard output gets."""
    return text if report is None else f"{json.dumps(report)}\n"


def _tell(lines: Iterable[str], text: str, out: Outlet, err: Outlet) -> None:
    """Write the last of both streams; all of it together has one limit."""
    began = time.monotonic()
    # first, and for half of the time: the two may be the same file, and out needs the other half
    err.finish("".join(f"{line}\n" for line in lines), began + LONGEST / 2)
    if not out.finish(text, began + LONGEST) and text:  # `--help | head` needs only what it took
        why = out.failure.strerror or out.failure if out.failure else "nobody reads it"
        err.finish(f"standard output could not be written: {why}\n", began + LONGEST)


def _last_line(text: str) -> None:
    if isinstance(sys.stderr, Outlet):
        sys.stderr.finish(f"{text}\n", time.monotonic() + LONGEST)
