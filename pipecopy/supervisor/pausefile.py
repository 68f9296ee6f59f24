"""The pause file is looked for in a thread of its own: on a network mount a look may never end."""

from __future__ import annotations

import errno
import os
import threading
import time

from pipecopy.units import seconds_text
from pipecopy.workers.host import start

_EVERY = 0.25
"""Seconds between two looks."""
UNANSWERED = 1.0
"""Seconds without an answer after which nobody can tell whether the file exists."""


class PauseFile:
    """Looks for the file.

    While nobody can tell, the run is paused: whoever makes the file can rely on it.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100 - Path.absolute leaves .. in it
        self._asked_at: float | None = None
        """Of the look that is under way."""
        self._exists = False
        self.answered = False
        self.error: OSError | None = None
        """Why nobody can tell whether it is there."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name="pipecopy-pause-file", daemon=True)

    def start(self) -> None:
        """Begin to look. Raises HostError."""
        self._asked_at = time.monotonic()
        start(self._thread)

    def end(self) -> None:
        """Look no more; a look that is stuck is left behind."""
        self._ended.set()

    @property
    def found(self) -> str | None:
        """Why the run is paused; None if there is no such file."""
        unknown = f"whether the file {self._path} exists is not known"
        asked_at = self._asked_at
        waited = 0.0 if asked_at is None else time.monotonic() - asked_at
        if not self.answered or waited >= UNANSWERED:
            return f"{unknown}: no answer for {seconds_text(int(waited))}"
        if (error := self.error) is not None:
            code = errno.errorcode.get(error.errno or 0, str(error.errno))
            return f"{unknown}: {error.strerror} ({code})"
        return f"the file {self._path} exists" if self._exists else None

    def _main(self) -> None:
        while not self._ended.is_set():
            self._asked_at = time.monotonic()
            try:
                self._exists, self.error = _is_there(self._path), None
            except OSError as error:
                self.error = error
            self.answered, self._asked_at = True, None
            self._ended.wait(_EVERY)


def _is_there(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116 - Path.exists takes a file that can't be looked at for none
    except FileNotFoundError:
        return False
    return True
