"""What the bench says while it runs: lines on standard error."""

from __future__ import annotations

import sys
import time

_BEGAN = time.monotonic()


def progress(line: str) -> None:
    """Say it, with the seconds since the bench began."""
    print(f"{time.monotonic() - _BEGAN:6.0f}  {line}", file=sys.stderr, flush=True)
