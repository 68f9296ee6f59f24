"""A copy with limits that fit a test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipecopy import Config, ConnectionPool, CopyReport, Observer, copy_table

CONFIG = Config(
    batch_size=10, max_retries=0, retries_delay=0.1, call_timeout=10, full_copy_timeout=30
)


def copy(
    pool: ConnectionPool,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
    **limits: Any,
) -> CopyReport:
    """Copy from `source` to `target`."""
    return copy_table(
        replace(CONFIG, **limits),
        pool,
        "source",
        "target",
        observer=observer,
        resume=resume,
        from_id=from_id,
        to_id=to_id,
    )
