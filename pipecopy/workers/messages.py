"""The values that cross the border between supervisor and worker, pickled by the standard pickle.

Nothing else does: an exception or a result that can't be unpickled would break Pebble's pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Task:
    """One attempt of one call, for the worker."""

    call: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Connected:
    """What `connect` came to."""

    offers: frozenset[str]
    """Which of the methods beyond the contract the `Database` has."""


@dataclass(frozen=True)
class Batch:
    """What `load_rows` put into a slot."""

    rows: int
    bytes: int
    end: int
    """The batch holds the rows with ids below this one."""
    next_end: int | None = None
    """What `end_of_batch` would say of the ids from `end` on, where it is known already."""


@dataclass(frozen=True)
class Returned:
    """The call returned."""

    value: Any
    position: Any = None
    """The `Database`'s, as it was heard last; None where it has none."""


Reason: TypeAlias = Literal["error", "timed out", "server changed", "table changed"]
"""What an exception means for the run: by `TimeoutError` and the exceptions of the contract."""


@dataclass(frozen=True)
class Raised:
    """The call raised."""

    driver_error: str
    message: str
    sqlstate: str | None
    traceback: str
    reason: Reason
    connected: bool
    """The worker has a `Database`, which can be closed."""
    differences: tuple[str, ...] = ()
    """One sentence for each thing that changed in the table."""
    saved_rows_stand: bool = True
    """The rows that were saved before are still there, as far as is known."""


@dataclass(frozen=True)
class Crashed:
    """The worker died, and nobody here had killed it."""

    exitcode: int | None
    """As in `subprocess`: negative for a signal."""
    output: str
    """The last of what it wrote to its standard output and error."""
    unguarded: bool = False
    """It ran a script that starts a copy when it is imported."""


Outcome: TypeAlias = Returned | Raised | Crashed
