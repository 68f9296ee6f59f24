"""The table `alt`, which is altered while it is copied, and what must hold afterwards.

`copy_and_check` strikes in a call by the book, `strike` at a random moment from another session.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import psycopg

from pipecopy.contracts import Side
from pipecopy.events import CallStarted, Event
from pipecopy.postgres import PostgresPool
from tests.faults.faulty import Alteration, AlteringPool, Moment
from tests.faults.held import side_of
from tests.support.checks import (
    Ended,
    Rows,
    Tables,
    check_nothing_left,
    prove_next_id,
    rows_of,
    run_copy,
)

ROWS, BATCH = 600, 50
"""Every other id is used, so that the ends of batches have to be asked for."""

_COLUMNS = ("t.id", "t.a::numeric", "t.c::numeric", "t.t")  # equal numbers are one of any type
_TABLE = "CREATE TABLE {} (id bigint PRIMARY KEY, a int, c bigint, t text);"
FILL = (
    f"INSERT INTO {{}} SELECT 2 * i, i, i * 1000003::bigint, {{}} || md5(i::text)"
    f" FROM generate_series(1, {ROWS}) AS i;"
)
FILLED = FILL.format("alt", "'old '")
_CLEAR = """
    DROP SCHEMA IF EXISTS public, other, was, x CASCADE;
    CREATE SCHEMA public;
    GRANT ALL ON SCHEMA public TO PUBLIC;
"""
_ROLE = "DO $$ BEGIN IF to_regrole('plain') IS NULL THEN CREATE ROLE plain LOGIN; END IF; END $$"

AS_VIEW = """
    ALTER TABLE alt RENAME TO alt_rows;
    CREATE VIEW alt AS SELECT id, a, c, t FROM alt_rows
"""
AS_NESTED_VIEW = """
    ALTER TABLE alt RENAME TO alt_rows;
    CREATE VIEW inside AS SELECT id, a, c, t FROM alt_rows;
    CREATE VIEW alt AS SELECT id, a, c, t FROM inside
"""
PARTITIONED = """
    ALTER TABLE alt RENAME TO alt_was;
    CREATE TABLE alt (LIKE alt_was INCLUDING INDEXES) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF alt FOR VALUES FROM (MINVALUE) TO (200);
    CREATE TABLE p2 PARTITION OF alt FOR VALUES FROM (200) TO (800);
    CREATE TABLE p3 PARTITION OF alt FOR VALUES FROM (800) TO (2000);
    CREATE TABLE p4 (LIKE alt INCLUDING INDEXES);
    INSERT INTO alt SELECT * FROM alt_was;
    INSERT INTO p4 VALUES (2000, 1, 1, 'more')
"""
INHERITED = """
    CREATE TABLE child () INHERITS (alt);
    WITH moved AS (DELETE FROM ONLY alt WHERE id > 600 RETURNING *)
    INSERT INTO child SELECT * FROM moved
"""
KEYLESS = "ALTER TABLE alt DROP CONSTRAINT alt_pkey"

Outcome = Literal["complete", "changed", "either"]


@dataclass(frozen=True, kw_only=True)
class Case:
    side: Side
    sql: str
    outcome: Outcome
    words: tuple[str, ...] = ()
    """What is said of it, where the run ends with an error."""
    source: str = ""
    """What is done to the source's table before the copy."""
    target: str = ""
    user: str = "postgres"
    where: str | None = None
    moments: tuple[Moment, ...] = ("waits",)


def make(tables: Tables, *, source: str = "", target: str = "") -> None:
    """Make `alt` on both sides anew, filled in the source, and `alt_new` to replace it.

    `source` and `target` are what is done to them then.
    """
    make_tables = _TABLE.format("alt") + _TABLE.format("alt_new")
    for side in (tables.source, tables.target):
        side.execute(_ROLE)
        side.execute(_CLEAR + make_tables)
    tables.source.execute(FILLED + FILL.format("alt_new", "'new '"))
    grants = "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain"
    tables.source.execute(f"{source}; {grants}")
    tables.target.execute(f"{target}; {grants}")


def altering(tables: Tables, alteration: Alteration, folder: Path, **how: Any) -> AlteringPool:
    """Return a pool that copies `alt` as `pool_of` says, and is struck."""
    admin = side_of(tables, alteration.side).conninfo
    return AlteringPool(pool_of(tables, **how), alteration, admin, folder)


def pool_of(
    tables: Tables, *, user: str = "postgres", where: str | None = None, **parameters: str
) -> PostgresPool:
    """Return the way to both sides as that user, with parameters of libpq's."""
    uris = {
        name: database.server.conninfo(database.name, user=user, **parameters)
        for name, database in (("source", tables.source), ("target", tables.target))
    }
    return PostgresPool(uris, table="alt", columns=["id", "a", "c", "t"], where=where)


def rows_in(tables: Tables, side: Side, table: str = "alt") -> Rows:
    """Return the rows that are there now; none where there is no such table any more."""
    try:
        return rows_of(side_of(tables, side), table, _COLUMNS)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return frozenset()


def check_complete(tables: Tables, before: Rows, *others: str) -> None:
    """See that every row is in the target, once, as it was or as it is; else in another table."""
    now = rows_in(tables, "source")
    wanted = {id_ for id_, _ in before}
    found = [_whole(tables, name, wanted, before | now) for name in ("alt", *others)]
    assert None in found, found


def _whole(tables: Tables, name: str, wanted: set[int], valid: Rows) -> str | None:
    """Return what is wrong with that table as a copy; None for nothing."""
    rows = rows_in(tables, "target", name)
    missing = sorted(wanted - {id_ for id_, _ in rows})
    if missing:
        return f"{len(missing)} rows missing in {name}: {missing[:5]}"
    wrong = sorted(id_ for id_, row in rows if id_ in wanted and (id_, row) not in valid)
    if wrong:
        return f"{len(wrong)} rows wrong in {name}: {wrong[:5]}"
    most = max(wanted)
    ((doubled,),) = tables.target.query(
        f"SELECT count(id) - count(DISTINCT id) FROM {name} WHERE id <= %s", [most]
    )
    return f"{doubled} rows doubled in {name}" if doubled else None


def check_claim(ended: Ended, tables: Tables, before: Rows) -> None:
    """See that every row below `next_id` is in the target, as it was or as it is."""
    now = dict(rows_in(tables, "source"))
    target = rows_in(tables, "target")
    as_it_is = frozenset(
        (id_, row) if (id_, now.get(id_)) not in target else (id_, now[id_]) for id_, row in before
    )
    prove_next_id(ended.report, as_it_is, target)


def check_changed(ended: Ended, side: Side, *words: str) -> None:
    """See that the run ended with the error that says what changed, and where."""
    error: Any = ended.exception
    assert ended.error == "TableMismatchError", ended.message or ended.report
    assert ended.exit_code == 5
    assert ended.side == side, ended.message
    assert side in ended.message
    assert error.differences, ended.message
    said = " ".join(error.differences)
    for word in words:
        assert word in said, said
        assert word in ended.message


def copy_and_check(case: Case, moment: Moment, tables: Tables, folder: Path) -> Ended:
    """Copy `alt`, struck in the fifth load or save, and see that it ends as it may."""
    make(tables, source=case.source, target=case.target)
    before = rows_in(tables, "source")
    call = "load_rows" if case.side == "source" else "save_rows"
    alteration = Alteration(side=case.side, sql=case.sql, call=call, number=5, moment=moment)
    pool = altering(tables, alteration, folder, user=case.user, where=case.where)
    ended = run_copy(pool, batch_size=BATCH, call_timeout=1 if moment == "hung" else 10)
    assert pool.struck.exists()
    assert pool.waited_for.exists() or moment != "waits", "no call waited for it"
    check_nothing_left()
    check_ended(ended, case, tables)
    if ended.error is None:
        check_complete(tables, before)
    else:
        check_claim(ended, tables, before)
    return ended


def check_ended(ended: Ended, case: Case, tables: Tables) -> None:
    """See that the copy ended as it may."""
    assert ended.report is not None, tables
    if case.outcome == "complete" or (case.outcome == "either" and ended.error is None):
        assert ended.error is None, ended.message
    else:
        check_changed(ended, case.side, *case.words)


STATEMENTS: dict[str, tuple[Side, str]] = {
    "rewritten": ("source", "ALTER TABLE alt ADD u uuid DEFAULT gen_random_uuid()"),
    "refilled": ("source", "TRUNCATE alt; INSERT INTO alt SELECT * FROM alt_new"),
    "int to real": ("source", "ALTER TABLE alt ALTER a TYPE real"),
    "bigint to float8": ("source", "ALTER TABLE alt ALTER c TYPE float8"),
    "another column of that name": (
        "source",
        "ALTER TABLE alt DROP a; ALTER TABLE alt ADD a real DEFAULT 1",
    ),
    "int to bigint": ("source", "ALTER TABLE alt ALTER a TYPE bigint"),
    "the target's to float8": ("target", "ALTER TABLE alt ALTER c TYPE float8"),
    "the target exchanged": (
        "target",
        "ALTER TABLE alt RENAME TO alt_old; ALTER TABLE alt_new RENAME TO alt",
    ),
}
HARMLESS = frozenset({"rewritten", "refilled"})
_CALLS = 26
"""A copy of `alt` has some more: it strikes after one of these has begun."""
_LATER = 0.006
_HELD = (0.0, 0.0, 0.005, 0.02)
"""Seconds for which its transaction may go on."""


def strike(tables: Tables, name: str, seed: str) -> str:
    """Have the statement strike; see that no row is missed or altered, or that it is said.

    Returns how the copy ended.
    """
    side, sql = STATEMENTS[name]
    make(tables)
    before = rows_in(tables, "source")
    random = Random(f"{seed} {name}")
    call, later, held = random.randint(1, _CALLS), random.uniform(0, _LATER), random.choice(_HELD)
    arrived = _Arrived(call)
    with side_of(tables, side).connect() as other, ThreadPoolExecutor(1) as threads:
        altered = threads.submit(_alter, other, sql, arrived, later, held)
        ended = run_copy(
            pool_of(tables),
            batch_size=BATCH,
            call_timeout=10,
            observer=arrived,
            read_ahead=random.choice((0, 1)),
        )
        altered.result()
    if ended.error is None:
        check_complete(tables, before, *(["alt_old"] if name == "the target exchanged" else []))
        return "complete"
    assert name not in HARMLESS, ended.message
    check_changed(ended, side)
    check_claim(ended, tables, before)
    return "changed"


class _Arrived:
    """An observer that waits until so many calls have begun."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._arrived = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, CallStarted):
            self._left -= 1
            if self._left == 0:
                self._arrived.set()

    def wait(self) -> None:
        assert self._arrived.wait(30)


def _alter(
    other: psycopg.Connection, sql: str, arrived: _Arrived, later: float, held: float
) -> None:
    arrived.wait()
    time.sleep(later)  # the moment is random, and so is how far the copy has come by then
    other.execute(f"BEGIN; {sql}".encode())
    time.sleep(held)
    other.execute("COMMIT")
