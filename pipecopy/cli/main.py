"""Where the process begins and ends: signals, the two streams, the exit code.

Only what is needed to handle a signal and to say so is imported before the handlers are set.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from pipecopy.cli.streams import LONGEST, Stream, take_over
from pipecopy.redact import redact

if TYPE_CHECKING:
    from pipecopy.cli.exits import Ending
    from pipecopy.report import Report
    from pipecopy.workers.launch import Launched

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERNAL_ERROR, HOST_ERROR = 70, 71
GO_ON = "to go on: "
AGAIN = "run it again: it is safe"
FIX_AND_AGAIN = "fix what the error names, and run it again: it is safe"
EXPLAINED = "exit code {}: see `pipecopy guide exit-codes`"
_SERVER_STOP = 0.1
"""Seconds that the fork server gets to end."""
_ONE_REQUEST = 0.5
"""Seconds in which signals count as one: timeout(1) sends its signal to the command and then to the
whole group, systemd may send SIGHUP right after SIGTERM (SendSIGHUP)."""


class StoppedBySignal(BaseException):
    """A signal stops the command. Not an `Exception`: nothing on the way may handle it."""

    def __init__(self, signum: int, report: Report | None = None) -> None:
        self.signum = signum
        self.name = signal.Signals(signum).name
        super().__init__(f"stopped by {self.name}")
        self.report = report
        """How far the run came; `supervise` sets it too."""


def stop_behind(error: BaseException) -> BaseException:
    """Return the stop that this error was raised from, or else the error itself.

    Up to Python 3.11 what is raised while a class is made (`__set_name__`) becomes a RuntimeError.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, StoppedBySignal):
        cause = cause.__cause__
    return cause or error


class StopSignals:
    """The signal handlers.

    The first signal raises `StoppedBySignal` in the main thread; once a run is under way, it asks
    that to stop, and the second one raises, since it can't wait. Both tell of the first.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._came_at = 0.0
        self._request: threading.Event | None = None
        self._stopping = False
        self._ignored = False

    def install(self) -> None:
        """Handle the signals from now on, but those that `nohup` or a shell's `&` ignores."""
        sys.unraisablehook = self._unraisable
        for signum in SIGNALS:
            if signum == signal.SIGTERM or signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._stop)

    def ask_first(self, request: threading.Event) -> None:
        """Have the first signal set this from now on."""
        self._request = request

    def ignore(self) -> None:
        """Ignore signals from now on: the outcome is known. Any thread may call it."""
        self._ignored = True

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        if self._stopping or self._ignored:
            return
        if self._request is not None:
            if self.first is None:
                self.first, self._came_at = signal.Signals(signum), time.monotonic()
                self._request.set()
                return
            if time.monotonic() - self._came_at < _ONE_REQUEST:
                return
        self._stopping = True  # a further one must not disturb the clean-up
        raise StoppedBySignal(self.first or signum)

    def _unraisable(self, lost: sys.UnraisableHookArgs) -> None:
        """Send a signal again that came during a `__del__`, where exceptions get lost."""
        if isinstance(lost.exc_value, StoppedBySignal):
            signum = lost.exc_value.signum
            threading.Thread(target=self._send_again, args=(signum,), daemon=True).start()
            self._stopping = False  # not before: in this hook a signal would be lost as well
        else:
            sys.__unraisablehook__(lost)

    def _send_again(self, signum: int) -> None:
        while self._stopping:
            time.sleep(0.01)
        time.sleep(0.01)
        os.kill(os.getpid(), signum)


def main(mask: Iterable[int], server: Launched | None) -> NoReturn:
    """Run the command of sys.argv; end the process without waiting for anything stuck.

    `mask` has the signals to block from now on; until now, all that stop the command were blocked.
    `server` is the fork server if one was launched.
    """
    gc.disable()  # `run` enables it: to look at what is imported again and again takes 4 %
    signals = StopSignals()
    code = INTERNAL_ERROR
    try:
        signals.install()
        out, err = take_over()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            ending = _run(err, signals, server)
            signals.ignore()
            code = ending.code
            _finish(ending.lines, ending.text, out, err, code, as_json=ending.as_json)
            if code == 0 and not ending.text and out.is_refused:  # it only had a text to write
                code = HOST_ERROR
        except BaseException as error:
            stop = stop_behind(error)
            if not isinstance(stop, StoppedBySignal):
                raise
            # outside of the command itself
            code = 128 + stop.signum
            go_on = f"{GO_ON}{AGAIN}; {EXPLAINED.format(code)}"
            lines = _lines((f"{stop}; nothing was done", go_on), code)
            _finish(lines, _result(stop, code), out, err, code)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends in one line
        code = _end(error)
    if server is not None:
        with suppress(OSError):  # the kernel ends it with this process in any case
            server.stop(_SERVER_STOP)
    os._exit(code)  # the interpreter's own exit would wait for a stuck stream


def _end(error: BaseException) -> int:
    """Write the last of both streams for an error of no command; return the exit code."""
    from pipecopy.workers.host import hidden_refusal  # noqa: PLC0415 - for this alone

    code, line = INTERNAL_ERROR, f"internal error: {type(error).__name__}: {error}"
    if (refused := hidden_refusal(error)) is not None:
        code, line = HOST_ERROR, f"error: {refused}"
    again = AGAIN if refused is None else FIX_AND_AGAIN
    line = f"{redact(line)}; {GO_ON}{again}; {EXPLAINED.format(code)}"
    text = _result(refused or error, code)
    if isinstance(sys.stderr, Stream) and isinstance(sys.stdout, Stream):
        _finish(_lines((line,), code), text, sys.stdout, sys.stderr, code)
    else:  # they could not be made
        for fd, last in ((2, f"{_lines((line,), code)[0]}\n"), (1, text)):
            with suppress(OSError):  # nobody reads it
                os.write(fd, last.encode())
    return code


def _run(err: Stream, signals: StopSignals, server: Launched | None) -> Ending:
    from pipecopy.cli import app  # noqa: PLC0415 - heavy: after the signal handlers

    if server is not None:
        from pipecopy.workers.servers import fork_servers  # noqa: PLC0415 - as above

        fork_servers.adopt(server)
    return app.run(sys.argv[1:], os.environ, err, signals)


def _lines(texts: tuple[str, ...], code: int, *, as_json: bool | None = None) -> tuple[str, ...]:
    """Return the lines as `--log-format` asks for, if that can be had; the first is the error.

    `as_json` is what the command knows of that option; without a command its words tell.
    """
    with suppress(Exception):  # as below
        from pipecopy.cli import argv  # noqa: PLC0415 - seldom needed

        if argv.asks_for_json_lines(sys.argv[1:], os.environ) if as_json is None else as_json:
            from pipecopy.cli.said import Said, lines_of  # noqa: PLC0415 - for JSON alone
            from pipecopy.observers.text import ERROR  # noqa: PLC0415 - as above

            events = ("error", "to_go_on")
            said = [Said(*each, ERROR) for each in zip(texts, events, strict=False)]
            return lines_of(said, as_json=True, exit_code=code)
    return texts


def _result(error: BaseException, code: int) -> str:
    """Return the object that `--json` asks for, "" if nobody does or it can't be had."""
    with suppress(Exception):  # what ended the command may end these imports too
        from pipecopy.cli import argv  # noqa: PLC0415 - seldom needed

        words = sys.argv[1:]
        if argv.asks_for_json(words, os.environ):
            from pipecopy.cli.result import as_text, result  # noqa: PLC0415 - as above

            return as_text(result(argv.command_of(words), code, error=error))
    return ""


def _finish(
    lines: Iterable[str],
    text: str,
    out: Stream,
    err: Stream,
    code: int,
    *,
    as_json: bool | None = None,
) -> None:
    """Write the last of both streams; all of it together has one limit."""
    began = time.monotonic()
    # first, and for half of the time: the two may be the same file, and out needs the other half
    err.finish("".join(f"{line}\n" for line in lines), began + LONGEST / 2)
    written = out.finish(text, began + LONGEST)
    if not written and (text or out.is_refused):
        why = out.failure.strerror or out.failure if out.failure else "nobody reads it"
        line = f"standard output could not be written: {why}"
        (line,) = _lines((line,), code, as_json=as_json)
        err.finish(f"{line}\n", began + LONGEST)
