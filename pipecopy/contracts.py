"""What a driver implements: `Database` and `ConnectionPool`, and what they may offer besides.

Both are structural: any class with these methods will do, over any driver. The pool object
travels to the worker processes pickled with dill; a `Database` is made and used there alone.

What either may offer besides is used if it is there. Of a pool:

check_name(dbname: str) -> str | None
    What is wrong with the name of a database, told in the calling process before anything starts,
    and at once: nothing is connected to. None if nothing is wrong.
for_session(session: Session) -> ConnectionPool
    The pool to connect with in this session.
end_sessions(dbname: str) -> str | None
    Ends what killed workers of this session have left on the server, and says what that was and
    what it waited for. Called on the target after the last worker there was killed in a call.
table: str, target_table: str, key: str
    What is copied into what, by which column: for the report.

Of any `Database`:

describe() -> TableDescription | Any
    Looks at the table before the first row. Of other plain values, unequal ones do not fit.
meet(other: Any) -> Sequence[Finding]
    Takes note of what `describe` said of the other side's table, and says how the two fit: types
    that differ may. Both sides are told at the same time. What replaces a killed worker finds it in
    its `Session`.
survey(min_id: int, max_id: int | None, other: Any) -> Survey
    What a check shows besides, of a copy of ids in `[min_id, max_id)`, without changing anything;
    None for an unknown end. `other` is what `describe` said of the other side's table, None if that
    is not known. Asked last, and also if `describe` or `meet` failed.
position: Any
    Which server it is and how far that has come, as last heard in a call: a plain value, which
    costs nothing. The session that replaces this one is given it, and raises `ServerChangedError`
    if its server is another one or is not as far. Without it, a worker that replaces a killed one
    asks for the greatest id again, on the source: it must not have become less. What a driver does
    when it connects again by itself is not seen.
end_of_batch(min_id: int, max_id: int, rows: int) -> int
    The `end` for which `[min_id, end)` holds the next `rows` rows below `max_id`.
lag() -> tuple[float, str | None]
    The seconds by which the standby is behind that is furthest behind, of those that follow this
    server, and its name for messages; None for the server itself, if that is a standby, and with 0
    for none. For `Config.max_lag`, which both sides are asked for once a second at most. An error
    if it can't be known: it is asked for the first time before the first row.
checksum(min_id: int, max_id: int) -> tuple[int, int]
    The number of rows with ids in `[min_id, max_id)`, and a checksum of them, without moving them.
    It does not depend on their order, and is the same on both sides for equal rows.
row_checksums(min_id: int, max_id: int) -> list[tuple[int, int, int]]
    `(id, rows, checksum)` for each id in `[min_id, max_id)`, in their order.
copied_checksums(min_id: int, max_id: int) -> list[tuple[int, int, int]]
    The same of the copied columns alone, if the checksums are also of those that each side computes
    itself: see `Column.is_computed_like`.
value_checksums(ids: Sequence[int], columns: Sequence[Sequence[str]]) -> list[tuple[int, list]]
    `(id, checksums)` for each of these ids that is there: one of the row's values in each of the
    lists of columns, the same on both sides for equal ones, or None if a value is NULL.

Of a source:

load_batch(min_id: int, max_id: int, rows: int) -> Sequence[Row]
    The first `rows` rows with ids in `[min_id, max_id)`, across any gaps, and all others with the
    id of the last one; or fewer, if that many would have more than `max_batch_bytes`. The result
    has an attribute `key_range`, the `[min_id, end)` that it covers: each row with an id in it is
    there. What `load_rows` returns may have one as well. It stands for `load_rows` in a copy, and
    is called so in events, errors and reports.
ends_of_batches(min_id: int, max_id: int, rows: int, most: int, seconds: float)
-> Sequence[tuple[int, int]]
    `(end, rows)` of the next batches with ids in `[min_id, max_id)`, in their order, at most `most`
    of them, and as many as are found in about so many seconds; none if the first takes too long.
    Each begins at the end of the one before and has `rows` rows or more, which are counted; the
    last of all ends at `max_id`, and has what is left. No id is cut in two. For a plan of shards.
estimated_rows(min_id: int, ends: Sequence[int], seconds: float) -> Sequence[int] | None
    For each of these ids, in ascending order, about how many rows have ids in `[min_id, end)`; for
    the first of them alone if it takes longer than so many seconds. None if that is not known. For
    a plan of shards if `ends_of_batches` takes too long: to estimate should take almost no time.
tables(patterns: Sequence[str], names: Sequence[str]) -> Sequence[Sequence[ListedTable]]
    For each pattern, in the driver's own way, the tables that it means; and then for each name the
    one table, or none. Partitions and tables of the system are left out of the first: for a run of
    many tables.
load_these(ids: Sequence[int]) -> Sequence[Row]
    The rows with these ids: for `exchange_rows`. If they are more bytes than a batch may have, an
    error of the SQLSTATE 54000: then fewer are asked for.
active_sessions() -> int
    How many sessions of clients are at work on the server, but for those of this run: for
    `Config.max_load`, and asked for as `lag` is.
open_transactions(among: Sequence[str] | None = None) -> Sequence[OpenTransaction] | str
    The transactions that are open, and may still commit rows with ids handed out before; with
    `among`, those of these ids that still are. First asked right after `get_max_id`, so that a row
    with an id up to that one is there already, or one of these transactions commits it. A string,
    which says why that can't be known, becomes a warning.

Of a target:

create(source: Any) -> Sequence[Finding] | str | None
    Makes the table like the source's, as its `describe` tells, unless it is there. Says what is not
    like the source's, or why it can't be made; a string becomes a warning.
get_max_id_in(min_id: int, max_id: int) -> int
    The greatest id in `[min_id, max_id)`, 0 if there is none: a copy of a range can be resumed.
unique_indexes() -> list[tuple[str, list[str]]]
    `(name, columns)` of each unique index but those of the key: with `value_checksums` of both
    sides, a verification says which rows have each other's unique values.
rows_without_id() -> int
    The number of rows whose id is NULL or negative, and so in no range.
delete_rows(ids: Sequence[int]) -> int
    Removes the rows with these ids, all or none, durably; returns how many there were.
exchange_rows(rows: Sequence[Row], surplus: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]
    Removes the rows with the ids of `rows`, and those with the ids `surplus`, and saves `rows`, all
    or none, durably: for rows that have each other's unique values, in which `save_rows` fails
    with the SQLSTATE 23505 or 23P01. If other rows have such a value too, it changes nothing.
    Returns the ids of those, and of the rows that had each other's values, for a message: none if
    that can't be told.
foreign_keys(tables: Sequence[str]) -> Sequence[ForeignKey]
    Those that the server enforces from one of these tables to one of them, by the names that
    `describe` told: a run copies a table after those to which it refers.
confirm() -> None
    Sees that server and table are still those that rows were saved to, if `finish` failed or an
    error of the source ends the copy. Raises `ServerChangedError` or `TableChangedError`.
finish(max_id: int) -> str | None
    Does what comes after the last batch; ids up to `max_id` were copied. A string becomes a
    warning.
analyze() -> str | None
    Has the server gather the statistics of the table anew, after a copy alone, and after `finish`.
    A string becomes a warning.

Of a target that keeps the ledger of sharded runs, all of these (see `Shard`):

plan_shards(shards: Sequence[Shard]) -> None
    Writes a run's shards into the ledger, which it makes if there is none. Raises
    `TargetInUseError` if another run of one of the tables is not complete.
shards(run_id: str | None) -> Sequence[Shard]
    Returns a run's shards, or those of all runs; none if there is no ledger.
hold_run(run_id: str) -> str
    Takes the run until the database is closed, in each session that replaces this one as well, and
    returns its id. Raises `TargetInUseError` if another process has it, as later calls do then.
open_shards(run_id: str) -> None
    Sets all shards that are not done to `waiting`: the run goes on. Like `plan_shards`, it keeps
    other runs out of the tables as long as the run is held.
claim_shard(number: int, stopped: bool) -> Shard
    Takes a shard: the next attempt begins, and those before can save no more. Its `state` is not
    `running` if it is done, or stopped and `stopped` is false. From then on `save_rows` sets
    `next_id` and adds `rows` in its own transaction, and raises `ShardLostError` if another attempt
    has claimed the shard or the run was stopped.
end_shard(state: str, error: str | None) -> None
    Sets the state of the shard that was claimed; raises as `save_rows` does.
stop_shards(run_id: str, finishing: bool) -> None
    Sets all shards that are not done to `stopped`, but leaves those that failed; with `finishing`,
    those that are `running` to `stopping`: each may save once more, which sets it to `stopped`.
drop_run(run_id: str, complete: bool) -> Sequence[Shard]
    Removes the run, which is held, from the ledger, and the ledger if no other run is in it. If
    `complete`, only if all its shards are done; otherwise returns those that are not: a failover
    may have lost what they had saved.

Of both sides, with these:

end_run(run_id: str) -> None
    Ends all sessions of the run but this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

from pipecopy.errors import Holder
from pipecopy.finding import Finding
from pipecopy.shard import Part

Row: TypeAlias = Sequence[Any]
"""One table row, values in column order."""

Side: TypeAlias = Literal["source", "target"]
Mode: TypeAlias = Literal["copy", "check", "verify"]
"""What a run does: it copies, looks at what a copy needs, or compares rows."""


class Database(Protocol):
    """One database, with the table `profiles` unless told otherwise.

    It re-establishes a lost connection by itself. A call that raises `TimeoutError` is retried; any
    other exception ends the copy; if it has an attribute `remedy`, a clause such as `check the
    name` or SQL that ends with a semicolon, the error says it as what to do.
    """

    def close(self) -> None:
        """Give the connection back."""

    def get_max_id(self) -> int:
        """Return the greatest id in the table, 0 for an empty one."""
        ...

    def load_rows(self, min_id: int, max_id: int) -> Sequence[Row]:
        """Return the rows with ids in `[min_id, max_id)`."""
        ...

    def save_rows(self, rows: Sequence[Row]) -> SavedRows | None:
        """Save the rows, all or none, durably; saving the same rows again changes nothing.

        It may return what became of them, for events and reports; anything else is ignored.
        """


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


class TableEmptiedError(ServerChangedError):
    """The same if a crash of the server has emptied the table, which no ledger tells."""


class TargetInUseError(Exception):
    """A driver raises it from any call if another run holds the target's table.

    Running it again helps, once that run has ended; `remedy` is what else does, and `holder` who
    it is. With `Config.wait` the run connects again about once a second until nothing raises it,
    or the holder is `abandoned`.
    """

    sqlstate = "55006"
    """The object is in use."""

    def __init__(
        self, message: str, remedy: str | None = None, *, holder: Holder | None = None
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.holder = holder


class ShardLostError(Exception):
    """A driver raises it from a call of a shard that another attempt has, or whose run was stopped.

    Nothing was saved by that call.
    """

    sqlstate = "55006"
    """The object is in use."""


class TableChangedError(Exception):
    """A driver raises it from any call if its table is no longer the one that was described.

    `differences` has one line for each thing that changed. `saved_rows_stand` tells whether
    the rows that were saved before are known to be there still, with the values that were saved.
    """

    def __init__(
        self, message: str, differences: Sequence[str] = (), *, saved_rows_stand: bool = False
    ) -> None:
        super().__init__(message)
        self.differences = tuple(differences)
        self.saved_rows_stand = saved_rows_stand


@dataclass(frozen=True, kw_only=True)
class SavedRows:
    """What became of the rows of a batch: together, these are all of its rows.

    If an attempt to save it was cut off after its commit, the next attempt finds all unchanged, and
    the counts are those of that attempt.
    """

    inserted: int
    """The target had no row with the id."""
    updated: int
    """The target's row with the id had other values, which are replaced."""
    unchanged: int
    """The target had the very row."""


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
    """What `describe` said of the other side's table, once that is known (see `meet`)."""
    described: Any = None
    """What `describe` said of this side's table, once that is known: a call on another table
    raises `TableChangedError`."""
    greatest_id: int | None = None
    """What `get_max_id` said on this side, once that is known."""
    position: Any = None
    """The `position` of the session that this one replaces."""
    host: str | None = None
    """Of the process that has called `copy_table`, as are `pid` and `started`: for another run that
    finds the target's table held. A container's name is that of its own."""
    pid: int | None = None
    started: str | None = None
    """When the run began (UTC, ISO 8601)."""
    patience: float | None = None
    """How the target's table is taken. None: if another run has it, a moment is waited, since that
    run may just have been killed, and then `TargetInUseError` is raised. A number (`Config.wait`):
    that is raised at once, and the supervisor connects again; the table is taken only after it was
    free for so many seconds, more than 0 once another run was seen to have it, since that run may
    only be between two attempts of a call."""

    part: Part | None = None
    """Which part of a sharded run, or of a verification by several at once, it is of; None for any
    other run. The parts of one run share the lock of the target's table."""

    @property
    def may_write(self) -> bool:
        """Whether this session writes: on the target alone."""
        return self.writes and self.side == "target"

    @property
    def copies_shard(self) -> bool:
        """Whether it is of an attempt of a shard."""
        return self.part is not None and self.part.role == "shard"

    @property
    def removes_by_parts(self) -> bool:
        """Whether it is on the target, from which other parts of the run remove rows too."""
        return self.part is not None and self.deletes and self.side == "target"

    @property
    def plans_shards(self) -> bool:
        """Whether it is on the target, for what comes once for a table of a sharded run."""
        return self.part is not None and self.part.role == "table" and self.side == "target"

    @property
    def keeps_ledger(self) -> bool:
        """Whether it keeps the ledger of a sharded run, for the process that drives it."""
        return self.part is not None and self.part.role == "run" and self.side == "target"

    @property
    def locks_table(self) -> bool:
        """Whether it holds the lock of the target's table, which the parts of a run share."""
        return self.may_write and (self.part is None or self.part.role != "run")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, which is copied unless the database computes it."""

    name: str
    type: str
    """The type as the server writes it, such as `character varying(20)`."""
    generated: str | None = None
    """What each side computes it by; None for a column that is copied."""
    needs_value: bool = field(default=False, compare=False)
    """No row can be inserted without a value for it."""

    def __str__(self) -> str:
        """Return its type, and what it is computed by."""
        if self.generated is None:
            return self.type
        return f"{self.type} GENERATED ALWAYS AS ({self.generated})"

    def agrees(self, other: Column) -> bool:
        """Return whether the other side's takes its values as they are, or both compute theirs."""
        both_computed = self.generated is not None and other.generated is not None
        return both_computed or str(self) == str(other)

    def is_computed_like(self, other: Column) -> bool:
        """Return whether both sides compute it, of one type: it can be compared, not copied.

        Whatever the expressions: what they call may differ if they do not, and the other way round.
        """
        return None not in (self.generated, other.generated) and self.type == other.type


@dataclass(frozen=True, kw_only=True)
class TableDescription:
    """A table as a value that can be compared with the other side's."""

    table: str
    """The table's name as the database writes it."""
    key: str
    columns: tuple[Column, ...] = ()
    """In the order in which `load_rows` returns their values."""
    identity: str | None = None
    """What tells this very table from all others, in parts between `/`; equal on both sides, a copy
    is refused. An empty part is one that is not known, and stands for any. The last part of a
    standby's is empty: it has its primary's table."""
    replicates: bool | None = None
    """The server sends its changes to another one, or receives them, at this moment; None if that
    is not known."""
    timeline: int | None = None
    """Of the log that it writes, or receives; None if that is not known. A standby that receives
    another timeline than a server writes, which sends none, does not follow that server."""
    findings: tuple[Finding, ...] = ()
    """Problems are reasons not to copy at all (a missing right, hidden rows, …), warnings are for
    the report."""
    checksums: tuple[str, ...] = ()
    """The ways in which it can make checksums, the best one first: both sides take the first that
    the other one has too."""
    definition: Any = None
    """What else a target needs to make such a table, as plain values; for `create`."""
    greatest_id: int | None = None
    """The greatest id that the key's type holds; None for any."""
    has_unique_key: bool | None = None
    """No id can be there twice: shards need that of a target. None if that is not known."""
    not_found: tuple[str, ...] = ()
    """Names of columns to be left out that the table does not have: one of the two should."""
    encoding: str | None = None
    """Of the texts in the database, for the same driver on the other side."""
    server: tuple[str, int] | None = None
    """The kind of server and its version, for the same driver on the other side."""
    state: Any = None
    """What must stay as it is while a run is under way, as plain values; for the sessions that
    replace this one."""

    @property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names, in their order."""
        return {column.name: column for column in self.columns}

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The reasons not to copy."""
        return tuple(finding for finding in self.findings if finding.mark == "problem")


class ListedTable(TypedDict):
    """A table as `tables` lists it."""

    name: str
    """As the pool would be told it, with its schema."""
    key: str | None
    """The integer column by which it can be copied, likewise; None if there is none."""
    bytes: int | None
    """Its size in the database; None if that is not known."""


class ForeignKey(TypedDict):
    """That a table refers to another one, or to itself."""

    name: str
    table: str
    refers_to: str


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


class OpenTransaction(TypedDict):
    """One that was open on the source, as `open_transactions` tells of it."""

    id: str
    """What it is known by, for the driver alone."""
    who: str
    """Whose it is, as far as that may be known: for the warning that names it."""
    since: NotRequired[str | None]
    """When it began (ISO 8601), if that may be known."""
