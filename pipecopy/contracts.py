"""What a driver implements: `Database` and `ConnectionPool`, and what they may offer besides.

Both are structural: any class with these methods will do, over any driver. The pool object
travels to the worker processes pickled with dill; a `Database` is made and used there alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

from pipecopy.report import Finding

Row: TypeAlias = Sequence[Any]
"""One table row, values in column order."""

Side: TypeAlias = Literal["source", "target"]
Mode: TypeAlias = Literal["copy", "check", "verify"]
"""What a run does: it copies, looks at what a copy needs, or compares rows."""


class Database(Protocol):
    """One database, with the table `profiles` unless told otherwise.

    It re-establishes a lost connection by itself. A method that raises `TimeoutError` is tried
    again; any other exception ends the copy.
    """

    def close(self) -> None:
        """Give the connection back."""

    def get_max_id(self) -> int:
        """Return the greatest id in the table, 0 for an empty one."""
        ...

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        """Return the rows with ids in `[min_id, max_id)`."""
        ...

    def save_rows(self, rows: Sequence[Row]) -> None:
        """Save the rows, all or none, durably; saving the same rows again changes nothing."""


class ConnectionPool(Protocol):
    """Opens databases by name."""

    def connect(self, dbname: str) -> Database:
        """Open the database of that name."""
        ...


class ServerChangedError(Exception):
    """A driver raises it from any call if its server is not the one it was, or went back in time.

    What was read or saved there before may be missing. The run ends: running it again helps.
    """

    sqlstate = "08006"
    """The connection has failed: it leads to another server than the one that was looked at."""


class TableChangedError(Exception):
    """A driver raises it from any call if its table is no longer the one that was described.

    `differences` has one sentence for each thing that changed. `saved_rows_stand` tells whether
    the rows that were saved before are known to be there still, with the values that were saved.
    """

    def __init__(
        self, message: str, differences: Sequence[str] = (), *, saved_rows_stand: bool = False
    ) -> None:
        super().__init__(message)
        self.differences = tuple(differences)
        self.saved_rows_stand = saved_rows_stand


# What either may offer besides. The supervisor uses it where it is there.


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a worker can tell its pool before it connects: which copy this is, and its limits."""

    run_id: str
    """12 hex digits that name this copy."""
    side: Side
    call_timeout: float
    """Seconds one call may take before its worker is killed."""
    max_batch_bytes: int | None = None
    """Bytes that a batch should not exceed; None for any number."""
    mode: Mode = "copy"
    writes: bool = True
    """The run writes to the target, and holds its lock: a copy, or a verification that repairs."""
    deletes: bool = False
    """The run removes surplus rows from the target."""
    other: Any = None
    """What `describe` said of the other side's table, once that is known (see `Meets`)."""
    described: Any = None
    """What `describe` said of this side's table, once that is known: a call on another table
    raises `TableChangedError`."""
    greatest_id: int | None = None
    """What `get_max_id` said on this side, once that is known."""
    position: Any = None
    """The `position` of the session that this one replaces (see `TellsPosition`)."""

    @property
    def may_write(self) -> bool:
        """Whether this session writes: on the target alone."""
        return self.writes and self.side == "target"


class SessionPool(Protocol):
    """A pool that wants to know the session that it connects for."""

    def for_session(self, session: Session) -> ConnectionPool:
        """Return the pool to connect with in this session."""
        ...


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, which is copied unless the database computes it."""

    name: str
    type: str
    """The type as the server writes it, such as `character varying(20)`."""
    generated: str | None = None
    """What each side computes it by; None for a column that is copied."""

    def __str__(self) -> str:
        """Return its type, and what it is computed by."""
        if self.generated is None:
            return self.type
        return f"{self.type} GENERATED ALWAYS AS ({self.generated})"

    def agrees(self, other: Column) -> bool:
        """Tell whether the other side's takes its values as they are, or both compute their own."""
        both_computed = self.generated is not None and other.generated is not None
        return both_computed or str(self) == str(other)


def generated_alike(
    source: Iterable[Column], target: Iterable[Column]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the generated columns that can be compared, of one type on both sides, and the others.

    Whatever the expressions: what they call may differ if they do not, and the other way round.
    """
    here, there = (
        {column.name: column.type for column in columns if column.generated is not None}
        for columns in (source, target)
    )
    names = sorted(here.keys() | there.keys())
    alike = tuple(name for name in names if here.get(name) == there.get(name))
    return alike, tuple(name for name in names if name not in alike)


@dataclass(frozen=True, kw_only=True)
class TableDescription:
    """A table as a value that can be compared with the other side's."""

    table: str
    """The table's name as the database writes it."""
    key: str
    columns: tuple[Column, ...] = ()
    """In the order in which `load_rows` returns their values."""
    identity: str | None = None
    """What tells this very table from all others; equal on both sides, a copy is refused. One that
    ends with `/` stands for all that begin with it."""
    findings: tuple[Finding, ...] = ()
    """Problems are reasons not to copy at all (a missing right, hidden rows, …), warnings are for
    the report."""
    checksums: tuple[str, ...] = ()
    """The ways in which it can make checksums, the best one first: both sides take the first that
    the other one has too."""
    definition: Any = None
    """What else a target needs to make such a table, as plain values; for `create`."""
    server: tuple[str, int] | None = None
    """The kind of server and its version, for the same driver on the other side."""
    state: Any = None
    """What must stay as it is while a run is under way, as plain values; for the sessions that
    replace this one."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The reasons not to copy."""
        return tuple(finding for finding in self.findings if finding.mark == "problem")


class TellsPosition(Protocol):
    """A `Database` that can tell whether a new session continues where the last one was.

    Without it, a worker that replaces a killed one asks for the greatest id again, on the source:
    it must not have become less. What a driver does when it connects again by itself is not seen.
    """

    @property
    def position(self) -> Any:
        """Return which server it is and how far that has come, as last heard in a call.

        A plain value; asking costs nothing. The session that replaces this one is given it, and
        raises `ServerChangedError` if its server is another one or is not as far.
        """
        ...


class Describes(Protocol):
    """A `Database` that can look at its table before the first row is copied."""

    def describe(self) -> Any:
        """Return a `TableDescription`, or any plain value: unequal values do not fit."""
        ...


class Meets(Protocol):
    """A `Database` that is told of the other side's table: types that differ may still fit."""

    def meet(self, other: Any) -> Sequence[Finding]:
        """Take note of what `describe` said of the other side's table, and say how they fit.

        The target is told first. What replaces a killed worker finds it in its `Session`.
        """
        ...


class Creates(Protocol):
    """A target that can make its table where it is missing."""

    def create(self, source: Any) -> Any:
        """Make the table like the source's, as its `describe` tells, unless it is there.

        A returned string becomes a warning.
        """
        ...


class Checksums(Protocol):
    """A `Database` whose rows can be compared without moving them."""

    def checksum(self, min_id: int, max_id: int) -> tuple[int, int]:
        """Return the number of rows with ids in `[min_id, max_id)`, and a checksum of them.

        It does not depend on their order, and is the same on both sides for equal rows.
        """
        ...

    def row_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        """Return `(id, rows, checksum)` for each id in `[min_id, max_id)`, in their order."""
        ...


class ComparesGenerated(Protocol):
    """A `Database` whose checksums are also of the columns that it computes itself.

    Of those that both sides compute, of one type: see `generated_alike`.
    """

    def copied_checksums(self, min_id: int, max_id: int) -> list[tuple[int, int, int]]:
        """Return what `row_checksums` would of the copied columns alone."""
        ...


class CountsRowsWithoutId(Protocol):
    """A target that may have rows which are in no range of ids."""

    def rows_without_id(self) -> int:
        """Return the number of rows whose id is NULL or negative."""
        ...


class DeletesRows(Protocol):
    """A target from which rows can be removed."""

    def delete_rows(self, ids: Sequence[int]) -> int:
        """Remove the rows with these ids, all or none, durably; return how many there were."""
        ...


class Survey(TypedDict, total=False):
    """What a side tells for a check; each may be left out."""

    findings: Sequence[Finding]
    """One with the message of a problem or a warning of `describe` stands for it."""
    rows: int | None
    """Rows that would be copied, estimated; for the source, as are the next three."""
    row_bytes: float | None
    """Of one row as it travels, on average, estimated."""
    format: str
    format_reason: str
    methods: Mapping[str, Sequence[str]]
    """For the target: how a batch is saved, and why, by whether rows with its ids may be there
    already: `new` for none, `known` for some."""
    has_rows: bool | None
    """For the target: whether it has rows with ids of the range."""
    creates: bool
    """For the target: its table is missing, which `describe` says, and would be made."""


class Surveys(Protocol):
    """A `Database` that tells what a check before a copy looks at, without changing anything."""

    def survey(self, min_id: int, max_id: int | None, other: Any) -> Any:
        """Return a `Survey` for a copy of ids in `[min_id, max_id)`; None for an unknown end.

        `other` is what `describe` said of the other side's table, None where that is not known.
        It is asked last, and also where `describe` or `meet` failed.
        """
        ...


class LoadsBatches(Protocol):
    """A source whose batches have so many rows, across any gaps in the ids."""

    def load_batch(self, min_id: int, max_id: int, rows: int) -> Sequence[Row]:
        """Return the first `rows` rows with ids in `[min_id, max_id)`.

        And all others with the id of the last one; or fewer, if that many would have more than
        `max_batch_bytes`. The result has an attribute `key_range`, the `[min_id, end)` that it
        covers: each row with an id in it is there. What `load_rows` returns may have one as well.

        It stands for `load_rows` in a copy, and is called so in events, errors and reports.
        """
        ...


class FindsBatches(Protocol):
    """A `Database` that knows where the next rows are."""

    def end_of_batch(self, min_id: int, max_id: int, rows: int) -> int:
        """Return the `end` for which `[min_id, end)` holds the next `rows` rows below `max_id`."""
        ...


class FindsGreatestIds(Protocol):
    """A target in which a copy of a range of ids can be resumed."""

    def get_max_id_in(self, min_id: int, max_id: int) -> int:
        """Return the greatest id in `[min_id, max_id)`, 0 where there is none."""
        ...


class OpenTransaction(TypedDict):
    """One that was open on the source, as `open_transactions` tells of it."""

    id: str
    """What it is known by, for the driver alone."""
    who: str
    """Whose it is, as far as that may be known: for the warning that names it."""
    since: NotRequired[str | None]
    """When it began (ISO 8601), if that may be known."""


class SeesTransactions(Protocol):
    """A source that knows which transactions may still commit rows with ids handed out before."""

    def open_transactions(
        self, among: Sequence[str] | None = None
    ) -> Sequence[OpenTransaction] | str:
        """Return those that are open now; with `among`, those of these ids that still are.

        It is first asked right after `get_max_id`, so that a row with an id up to that one is
        there already, or one of these transactions commits it. A string, which says why that can't
        be known, becomes a warning.
        """
        ...


class Confirms(Protocol):
    """A target that can tell that what was saved is still there."""

    def confirm(self) -> None:
        """See that server and table are still those that rows were saved to.

        It is asked if `finish` failed, or if an error of the source ends the copy. Raises
        `ServerChangedError` or `TableChangedError`.
        """
        ...


class Finishes(Protocol):
    """A `Database` that has something to do after the last batch, on the target."""

    def finish(self, max_id: int) -> Any:
        """Do it; ids up to `max_id` were copied. A returned string becomes a warning."""
        ...
