"""Standard output and error, as streams whose writer never waits.

Nobody may be reading the other end: a full pipe, a terminal stopped by Ctrl-S. So a thread of the
stream's own does the writing, and the process ends without it when it is stuck.
"""

from __future__ import annotations

import errno
import io
import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

BEHIND = 1000
"""Pieces of text that may wait; what comes on top is dropped."""
STALLED = 0.1
"""Seconds without a byte taken after which the process does not wait for the other end."""
LONGEST = 1.0
"""Seconds that it waits at its end in all, for readers that take the bytes slowly."""


_PASSING = (errno.ENOSPC, errno.EDQUOT)
"""A full disk may have room again: what comes then is written."""


class _Piece(NamedTuple):
    """What is to be written, and how many pieces before it found no room in the queue."""

    text: bytes
    dropped: int


class Stream(io.TextIOBase):
    """A text stream over a file descriptor. `failure` is the error that ended its output.

    `notice`, if it is set, returns the line that says how many pieces were dropped: it comes before
    the next one that is written.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        # a SimpleQueue alone stays whole when a signal handler raises in the middle of a put
        self._queue: SimpleQueue[_Piece | threading.Event] = SimpleQueue()
        self._taken = 0
        self._stuck_at = -1
        self._writing_since = math.inf
        """When the write under way began: a thread that waits for a processor is not stuck."""
        self._dropped = 0
        """How many pieces found no room in the queue since the last one that did."""
        self._lost = 0
        """How many are lost that no notice has told yet."""
        self._is_torn = False
        """Only the beginning of the last line was written."""
        self.notice: Callable[[int], str] | None = None
        self.failure: OSError | None = None
        threading.Thread(target=self._write_all, name=f"stream-{fd}", daemon=True).start()

    @property
    def encoding(self) -> str:  # type: ignore[override] # an attribute there
        return "utf-8"

    @property
    def is_refused(self) -> bool:
        """Whether the machine refused what was written: `--help | head` needs only what it took."""
        return self.failure is not None and self.failure.errno not in {None, errno.EPIPE}

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def fileno(self) -> int:
        return self._fd

    def write(self, text: str) -> int:
        if self._queue.qsize() < BEHIND:
            self._put(text)
        else:
            self._dropped += 1
        return len(text)

    def _put(self, text: str) -> None:
        dropped, self._dropped = self._dropped, 0
        self._queue.put(_Piece(text.encode(errors="backslashreplace"), dropped))

    def finish(self, text: str, until: float) -> bool:
        """Write the last of it and wait until all is written; return whether it was.

        Give up if nothing moves, and at the time `until` of the monotonic clock.
        """
        done = threading.Event()
        self._put(text)  # however much waits
        self._queue.put(done)
        while self._taken != self._stuck_at and not done.wait(
            max(0.0, min(STALLED, until - time.monotonic()))
        ):
            now = time.monotonic()
            if now >= until or now - self._writing_since >= STALLED:
                self._stuck_at = self._taken
        return done.is_set() and self.failure is None

    def _write_all(self) -> None:
        while True:
            piece = self._queue.get()
            if isinstance(piece, threading.Event):
                piece.set()
            elif self.failure is None or self.failure.errno in _PASSING:
                self._lost += piece.dropped
                if text := self._before() + piece.text:
                    self._try(text)

    def _try(self, text: bytes) -> None:
        try:
            self._write_piece(text)
            self.failure, self._lost = None, 0
        except OSError as error:
            self.failure = error
            self._lost += 1
        finally:
            self._writing_since = math.inf

    def _before(self) -> bytes:
        """Return what has to come before the next piece if others are lost."""
        if not self._lost or self.notice is None:
            return b""
        return (b"\n" if self._is_torn else b"") + self.notice(self._lost).encode()

    def _write_piece(self, piece: bytes) -> None:
        while piece:
            try:
                self._writing_since = time.monotonic()
                # no more at once than a pipe takes whole: so a slow reader is seen to read
                written = os.write(self._fd, piece[: select.PIPE_BUF])
            except BlockingIOError:  # whoever started the command made the pipe non-blocking
                select.select([], [self._fd], [])
                continue
            self._taken += written
            self._is_torn = not piece[:written].endswith(b"\n")
            piece = piece[written:]


def take_over() -> tuple[Stream, Stream]:
    """Replace sys.stdout and sys.stderr by streams that never wait, and return the two."""
    closed = [fd for fd in (0, 1, 2) if not _is_open(fd)]
    for _ in closed:  # or else a pipe opened later would get the number, and our text
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    out, err = Stream(1), Stream(2)
    for stream, fd in ((out, 1), (err, 2)):
        if fd in closed:
            stream.failure = OSError("it is closed")
    sys.stdout, sys.stderr = out, err
    return out, err


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
