"""Where the process begins and ends: signals, the two streams, the exit code.

Only what is needed to heed a signal and to say so is imported before the handlers are in place.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from pipecopy.cli.outlet import Outlet, take_over
from pipecopy.cli.stop import StoppedBySignal, StopSignals

if TYPE_CHECKING:
    from pipecopy.cli.endings import Ending

INTERNAL_ERROR = 70


def main() -> NoReturn:
    """Run the command of sys.argv; end the process without waiting for what is stuck."""
    signals = StopSignals()
    code = INTERNAL_ERROR
    try:
        signals.install()
        out, err = take_over()
        ending = _run(sys.argv[1:], err)
        signals.settle()
        code = ending.code
        _tell(ending, out, err)
    except StoppedBySignal as stop:  # before the command began, or as it ended
        code = 128 + stop.signum
        _last_line(f"{stop}; nothing more was done")
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends in one line
        _last_line(f"internal error: {type(error).__name__}: {error}")
    os._exit(code)  # the interpreter's own exit would wait for a stuck stream


def _run(argv: list[str], err: Outlet) -> Ending:
    from pipecopy.cli import app, endings  # noqa: PLC0415 - heavy: after the signal handlers
    from pipecopy.cli.options import Output  # noqa: PLC0415

    try:
        command = app.parse(argv)
    except Exception as error:  # noqa: BLE001 - an ending tells of each
        return endings.failed(error, Output(json="--json" in argv))
    return endings.Ending(code=0) if command is None else command.run(err)


def _tell(ending: Ending, out: Outlet, err: Outlet) -> None:
    err.write("".join(f"{line}\n" for line in ending.lines))
    err.drain()
    if ending.json is not None:
        out.write(f"{json.dumps(ending.json)}\n")
    if not out.drain() and ending.json is not None:  # `--help | head` needs no more than it took
        why = out.failure.strerror or out.failure if out.failure else "nobody reads it"
        err.write(f"standard output could not be written: {why}\n")
        err.drain()


def _last_line(text: str) -> None:
    if isinstance(sys.stderr, Outlet):
        sys.stderr.write(f"{text}\n")
        sys.stderr.drain()
