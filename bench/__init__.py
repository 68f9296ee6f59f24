"""pipecopy beside what else copies a table; its soak, and copies while rows commit late."""

from __future__ import annotations

import sys
import time

_BEGAN = time.monotonic()


def progress(line: str) -> None:
    """Print it to standard error, with the seconds since the bench began."""
    print(f"{time.monotonic() - _BEGAN:6.0f}  {line}", file=sys.stderr, flush=True)
