# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What a check shows of the target alone: how rows are saved, and what may stand in their way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipecopy.contracts import Finding, TableDescription
from pipecopy.postgres import create
from pipecopy.postgres.connection import Line
from pipecopy.postgres.describe import no_temp
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.facts import finding, told
from pipecopy.postgres.names import literal, quoted
from pipecopy.postgres.sequence import Behind, find_behind
from pipecopy.postgres.session import held, holder
from pipecopy.postgres.table import Selection, Table, ask_catalogs, fires, with_partitions

_BIGGEST = {21: 2**15 - 1, 23: 2**31 - 1}
"""The greatest value of the integer types that may be too narrow, by their OIDs."""


def methods(table: Table) -> dict[str, tuple[str, str]]:
    """Return how the target saves a batch, and why: see `Survey.methods`."""
    if table.unique_index is not None:
        known = ("upsert", "rows with some of these ids are there; only those that differ go")
    else:
        known = ("replace", "rows are there, without a unique index on the key to find them by")
    if not table.takes_direct:
        why = "values hold names (reg* types), which are read before a trigger fires"
        if table.before_triggers:
            why = "a BEFORE trigger may drop rows, which no other way would notice"
        return {"new": (known[0], why), "known": (known[0], why)}
    return {"new": ("direct", "no row with any of these ids is there"), "known": known}


def narrow_key(table: Table, last: int | None) -> Iterator[Finding]:
    """See that the key can hold the last id."""
    biggest = _BIGGEST.get(table.keyed.type_oid)
    if last is not None and biggest is not None and last > biggest:
        yield finding(
            "key",
            f"The target's key {table.key_sql} is of the type {table.keyed.type}, which ends at"
            f" {biggest}, below the last id {last}.",
            "problem",
            f"ALTER TABLE {table.sql} ALTER COLUMN {table.key_sql} TYPE bigint;",
        )


def lock(line: Line, table: Table) -> Iterator[Finding]:
    """See that no other copy is writing to the table."""
    rows = line.query(holder(table.oid))
    if not rows:
        yield finding("lock", "no other copy holds the table")
    for row in rows:
        sentence = held(table.sql, row)
        yield {
            **finding(
                "lock",
                f"{sentence[0].upper()}{sentence[1:]}.",
                "problem",
                f"Wait for its end, or: SELECT pg_terminate_backend({row[1]});",
            ),
            "cause": "busy",
        }


def surroundings(line: Line, table: Table) -> Iterator[Finding]:
    """Tell of the other unique indexes, the triggers and the foreign keys."""
    ((unique, are_there, references),) = ask_catalogs(
        line,
        "SELECT (SELECT coalesce(json_agg(ic.relname ORDER BY ic.relname), '[]')"
        " FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid"
        f" WHERE i.indrelid = {table.oid} AND (i.indisunique OR i.indisexclusion)"
        f" AND NOT (i.indnkeyatts = 1 AND i.indkey[0] = {table.keyed.number}"
        " AND i.indpred IS NULL)),"
        f" EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal AND {fires('tgenabled')}"
        f" AND tgrelid IN ({with_partitions(table)})),"
        " (SELECT coalesce(json_agg(json_build_array(conname, confrelid::regclass::text)"
        " ORDER BY conname), '[]') FROM pg_constraint"
        f" WHERE contype = 'f' AND conrelid = {table.oid})",
    )
    names = ", ".join(quoted(name) for name in unique)
    other = f"a row must also fit {names}" if names else "none but the key's could refuse a row"
    yield finding("indexes", other)
    if not are_there:
        yield finding("triggers", "none fires for the copied rows")
    if not references:
        yield finding("foreign keys", "none asks for rows of other tables")
    for name, referenced in references:
        yield finding(
            "foreign keys",
            f"The foreign key {quoted(name)} asks for a row of {referenced} for each copied row.",
            "warning",
            f"Copy {referenced} first.",
        )


def sequences(line: Line, table: Table, last: int | None) -> Iterator[Finding]:
    """See that the sequence behind the key can be set past the copied ids."""
    found = find_behind(line, table)
    if not found:
        yield finding("sequence", "none is behind the key")
    for behind in found:
        left = behind.why_left(last)
        yield _state(line, behind) if left is None else told("sequence", left, "warning")


def _state(line: Line, behind: Behind) -> Finding:
    """Say where the sequence is, or that the role may not set it."""
    ((role, may_set, at),) = ask_catalogs(
        line,
        "SELECT current_user::text,"
        " has_sequence_privilege(oid, 'SELECT') AND has_sequence_privilege(oid, 'UPDATE'),"
        " CASE WHEN has_sequence_privilege(oid, 'SELECT') THEN pg_sequence_last_value(oid) END"
        f" FROM pg_class WHERE oid = {behind.oid}",
    )
    if not may_set:
        return finding(
            "sequence",
            f"The role {role} may not set the sequence {behind.sql} past the copied ids.",
            "warning",
            f"GRANT SELECT, UPDATE ON SEQUENCE {behind.sql} TO {quoted(role)};",
        )
    return finding("sequence", f"{behind.sql}, {'not used yet' if at is None else f'at {at}'}")


def creation(line: Line, selection: Selection, source: Any) -> list[Finding] | None:
    """Say what `create` would make of the source's table; None where it could make nothing."""
    if source is None or (isinstance(source, TableDescription) and source.problems):
        return [finding("create", "would be made like the source's, once that is in order")]
    try:
        foretold = create.foretell(line, selection, source)
    except PostgresError as error:
        sentence = str(error)
        return [told("create", f"{sentence[0].upper()}{sentence[1:]}")]
    if foretold is None:
        return None
    schema, statements, remarks = foretold
    ((role, database, may_create, may_temp),) = ask_catalogs(
        line,
        "SELECT current_user::text, current_database()::text,"
        f" has_schema_privilege({literal(quoted(schema))}::regnamespace, 'CREATE'),"
        " has_database_privilege(current_database(), 'TEMP')",
    )
    found = [finding("create", f"would be made: {statements}")]
    found += [finding("create", remark, "warning") for remark in remarks]
    if not may_create:
        found.append(
            finding(
                "rights",
                f"The role {role} has no CREATE right on the schema {schema}.",
                "problem",
                f"GRANT CREATE ON SCHEMA {quoted(schema)} TO {quoted(role)};",
            )
        )
    if not may_temp:
        found.append(told("rights", no_temp(role, database)))
    return found
