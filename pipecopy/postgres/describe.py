"""What speaks against a copy, seen before the first row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import psycopg

from pipecopy.arguments import argument, function_call
from pipecopy.contracts import Session, TableDescription
from pipecopy.finding import Finding, as_written, problem, warning
from pipecopy.postgres.checksums import ways
from pipecopy.postgres.event_triggers import fire_for
from pipecopy.postgres.failover import PRIMARY_ONLY
from pipecopy.postgres.guard import Relations, greatest_key, is_guards, still_the_same
from pipecopy.postgres.names import CATALOG_PATH, all_tables, quoted, readings
from pipecopy.postgres.questions import Question, ask
from pipecopy.postgres.reader import also
from pipecopy.postgres.rights import missing_rights
from pipecopy.postgres.schema import define
from pipecopy.postgres.selection import Selection, similar_tables
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import NOT_READ, Table
from pipecopy.postgres.transactions import ids_out_of_order
from pipecopy.postgres.versions import server_of
from pipecopy.postgres.where import against_where
from pipecopy.postgres.writable import (
    BATCH_TAGS,
    against_writing,
    event_triggers_refuse,
    no_replica_identity,
    takes_no_writes,
)

_OIDS = (26, 1028)
"""The types oid and oid[], by their own OIDs; `lo`, an extension's, is a domain over oid."""
_INTEGERS = "an integer (smallint, integer or bigint)"


def describe(
    session: ServerSession,
    selection: Selection,
    table: Table | None,
    relations: Relations,
    run: Session | None,
) -> TableDescription:
    """Return the table as a value; all problems at once. Without a run: those of any run."""
    key = selection.key
    if table is None:
        return TableDescription(
            table=selection.table,
            key=key,
            findings=_of_no_table(session, selection.table, run),
            server=server_of(session),
        )
    if table.kind in NOT_READ:
        what = problem(f"{table.sql} is {NOT_READ[table.kind]}, not a table")
        return TableDescription(table=table.sql, key=key, findings=(what,))
    findings = [*_of_any_run(session, table, key), *_of_run(session, table, relations, run)]
    of_rows = [] if _has_problem(findings) else _of_rows(session, table, run)

    def facts() -> tuple[Question[Any], ...]:
        return _identity(session, table), ways(), _definition(table, run), _event_triggers(run)

    def checks() -> Iterator[Question[list[Finding]]]:
        return _of_catalogs(session, selection, table, run)

    answers, more = _answers(session, table, relations, facts, checks, of_rows=of_rows)
    (replicates, timeline), identity, checksums, definition, event_triggers = answers
    findings += itertools.chain(*more)
    if event_triggers and not _has_problem(findings):
        findings += event_triggers_refuse(session, table, event_triggers)
    return TableDescription(
        table=table.sql,
        key=key if table.key is None else table.key.name,
        columns=table.described(),
        greatest_id=None if table.key is None else table.key.greatest,
        not_found=table.not_found,
        encoding=session.encoding,
        identity=identity,
        replicates=replicates,
        timeline=timeline,
        findings=tuple(sorted(findings, key=lambda found: found.mark != "problem")),
        checksums=checksums,
        definition=definition,
        server=server_of(session),
        has_unique_key=table.unique_index is not None,
    )


def _of_rows(
    session: ServerSession, table: Table, run: Session | None
) -> list[Callable[[Table], Question[Sequence[Finding]]]]:
    """Return what is asked of the rows; they may be asked for more than once."""
    if run is not None and run.side == "source":
        return [_bad_keys, ids_out_of_order]  # on a verified target they count as surplus
    if run is not None and run.may_write and table.ordered_index and not run.copies_shard:
        return [partial(_note_greatest_key, session)]
    return []


def _answers(
    session: ServerSession,
    table: Table,
    relations: Relations,
    facts: Callable[[], Sequence[Question[Any]]],
    checks: Callable[[], Iterator[Question[list[Finding]]]],
    *,
    of_rows: Sequence[Callable[[Table], Question[Sequence[Finding]]]],
) -> tuple[list[Any], list[Sequence[Finding]]]:
    """Return what the server says of the table, and of its rows if the role may read them.

    The first of the facts is what it says of its standbys.
    """
    known = [_replicates(session), *facts()]
    try:
        _, *answers, _ = ask(
            session.query_all,
            still_the_same(table, relations),
            *known,
            *checks(),
            *(of_row(table) for of_row in of_rows),
            still_the_same(table, relations, last=True),
        )
    except psycopg.Error as error:
        if is_guards(error) or not session.goes_on_after(error):
            raise
        # the role may not read the rows, or not even the name, or not ask for the standbys: first
        # what is said of its rights
        answers = [(None, None), *ask(session.query_all, *facts(), *checks())]
        if not _has_problem(itertools.chain(*answers[len(known) :])):
            answers += ask(session.query_all, *(of_row(table) for of_row in of_rows))
    return answers[: len(known)], answers[len(known) :]


def _of_no_table(session: ServerSession, name: str, run: Session | None) -> tuple[Finding, ...]:
    """Say that there is none, and what would keep a run from creating it."""
    (similar,) = ask(session.query_all, similar_tables(name))
    found = [_no_table(name, run, similar)]
    if run is not None and _is_written(run):
        found += itertools.chain(*ask(session.query_all, takes_no_writes(session)))
    return tuple(found)


def _of_any_run(session: ServerSession, table: Table, key: str) -> Iterator[Finding]:
    """Say what speaks against any run, by what is known of the table."""
    if table.key is None:
        yield problem(
            f"the table {table.sql} has no column {key} that could be the key", _other_keys(table)
        )
    elif not table.key.is_integer:
        yield problem(
            f"the key {table.key_sql} of the table {table.sql} is of the type {table.key.type}, not"
            f" {_INTEGERS}",
            _other_keys(table),
        )
    yield from map(problem, table.misnamed)
    if session.encoding == "SQL_ASCII":
        yield warning(
            "the database has the encoding SQL_ASCII, which does not say how its texts are encoded:"
            " they are read as UTF-8, unless the other database has this encoding too"
        )
    if table.is_temporary:
        yield problem(
            f"the table {table.sql} is temporary: it belongs to one session, and ends with it"
        )


def _other_keys(table: Table) -> str:
    """Return what to do if the key is none."""
    if not table.possible_keys:
        return f"name another key (`key`): {_INTEGERS}, best one with a unique index"
    names = " or ".join(argument(key=as_written(name)) for name in table.possible_keys)
    return f"name another key: {names}"


def _of_run(
    session: ServerSession, table: Table, relations: Relations, run: Session | None
) -> Iterator[Finding]:
    """Say what speaks against what the run does with the table, by what is known of it."""
    if run is None:
        return
    side, deletes, verified = run.side, run.deletes, run.mode == "verify"
    if side == "source" and deletes and session.server.is_standby:
        yield problem(
            f"the server is a standby, which may lack rows of its primary: {PRIMARY_ONLY}"
        )
    if _is_written(run):
        yield from against_writing(table, relations, deletes=deletes)
    else:
        yield from _no_ordered_index(table)
    if side == "source" or verified:
        yield from against_where(session, table, verified=verified)


def _event_triggers(run: Session | None) -> Question[tuple[str, ...]]:
    if run is None or not _is_written(run):
        return ()
    return (yield from fire_for(BATCH_TAGS))


def _of_catalogs(
    session: ServerSession, selection: Selection, table: Table, run: Session | None
) -> Iterator[Question[list[Finding]]]:
    """Yield what the server has to be asked for, and can be whatever speaks against the run."""
    yield _ambiguous(selection.table)
    yield _row_security(table)
    if run is None:
        yield missing_rights(table, written=False)
        return
    written = _is_written(run)
    compared = table.generated if run.mode == "verify" else ()
    yield missing_rights(table, written=written, deletes=written and run.deletes, compared=compared)
    if written:
        yield takes_no_writes(session)
        yield no_replica_identity(table, deletes=run.deletes)
    if run.side == "source":
        yield _large_objects(table)


def _has_problem(findings: Iterable[Finding]) -> bool:
    return any(found.mark == "problem" for found in findings)


def _is_written(run: Session) -> bool:
    return run.side == "target" and (run.writes or run.mode != "verify")


def _no_table(name: str, run: Session | None, similar: Sequence[str]) -> Finding:
    fix = "check the name"
    if similar:
        fix += f" (did you mean {' or '.join(similar)}?)"
    remedy = fix
    if run is not None and run.side == "target":
        of_copy = f"{function_call('copy_table')} with " if run.mode == "verify" else ""
        remedy += f", or use {of_copy}`create`"
    return problem(f"table {name} does not exist or is not visible to this role", remedy)


def _ambiguous(name: str) -> Question[list[Finding]]:
    """Refuse a name by which each side could mean another table."""
    if len(readings(name)) == 1:
        return []
    tables = [str(table) for (table,) in (yield all_tables(name))]
    if len(tables) < 2:  # noqa: PLR2004 - one is not ambiguous
        return []
    what = f"the name {name} may mean {' or '.join(tables)}"
    return [problem(what, "put the one meant in quotes")]


def _row_security(table: Table) -> Question[list[Finding]]:
    ((hidden,),) = yield f"{CATALOG_PATH}SELECT row_security_active({table.oid})"
    if not hidden:
        return []
    return [
        problem(
            f"row-level security of {table.sql} hides rows from this role, or refuses them",
            "connect as a role with BYPASSRLS, or as the table's owner",
        )
    ]


def _no_ordered_index(table: Table) -> Iterator[Finding]:
    if table.kind in "rpm" and table.key is not None and not table.ordered_index:
        yield warning(
            f"table {table.sql} has no index that begins with {table.key_sql}: every"
            " batch reads the whole table",
            f"CREATE INDEX ON {table.sql} ({table.key_sql});",
        )


def _large_objects(table: Table) -> Question[list[Finding]]:
    """Warn of the columns whose oids may stand for large objects, in a database that has some."""
    columns = [quoted(column.name) for column in table.columns if column.type_oid in _OIDS]
    if not columns:
        return []
    ((some,),) = yield "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)"
    if not some:
        return []
    return [
        warning(
            f"only the oids in {', '.join(columns)} are copied and compared, not the large objects"
            " that they may stand for",
            "copy those with pg_dump -b, or keep their bytes in a column of the type bytea",
        )
    ]


def _bad_keys(table: Table) -> Question[list[Finding]]:
    key = table.key_sql
    never_null = table.keyed.not_null and not table.has_children  # a child may have dropped it
    ((null, negative),) = yield (
        f"SELECT {'false' if never_null else _exists(table, f'{key} IS NULL')},"
        f" {_exists(table, f'{key} OPERATOR(pg_catalog.<) 0')}"
    )
    return [
        problem(
            f"table {table.sql} has rows whose key {key} is {what}; those can't be copied",
            f"leave them out with {argument(where=f'{key} >= 0')}",
        )
        for what, is_there in (("NULL", null), ("negative", negative))
        if is_there
    ]


def _exists(table: Table, condition: str) -> str:
    return f"EXISTS (SELECT FROM {table.sql} WHERE {condition}{also(table)})"


def _note_greatest_key(session: ServerSession, table: Table) -> Question[Sequence[Finding]]:
    """See, for the first save, which keys are in the table."""
    ((greatest,),) = yield greatest_key(table)
    session.reached(None, greatest)
    return ()


def _identity(session: ServerSession, table: Table) -> Question[str]:
    """Return what identifies this very table; a standby's is its primary's without the last part.

    A clone of the server's files has all of it but the time when the server started.
    """
    system = "" if session.server.system is None else session.server.system
    beginning = f"{system}/{table.database_oid}/{table.oid}/"
    if session.server.is_standby:
        return beginning
    ((started,),) = yield (
        "SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text"
    )
    return f"{beginning}{started}"


def _replicates(session: ServerSession) -> Question[tuple[bool | None, int | None]]:
    """Return whether a standby receives from another server, or a primary sends to one.

    And the timeline of that.
    """
    if session.server.is_standby:
        ((timeline,),) = yield (
            "SELECT pg_catalog.max(received_tli) FROM pg_catalog.pg_stat_wal_receiver"
            " WHERE status OPERATOR(pg_catalog.=) 'streaming'"
        )
        # it may receive from an archive, and not all may see
        return None if timeline is None else True, timeline
    ((sends,),) = yield "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_replication)"
    return bool(sends), session.server.timeline


def _definition(table: Table, run: Session | None) -> Question[dict[str, Any] | None]:
    if (run is not None and run.side == "target") or table.key is None or table.misnamed:
        return None
    return (yield from define(table))
