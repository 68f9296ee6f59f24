# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What speaks against writing to a table, beyond the rights to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipecopy.finding import Finding, problem, warning
from pipecopy.postgres.errors import ABOUT_THE_TABLE
from pipecopy.postgres.event_triggers import disabled, tried
from pipecopy.postgres.guard import Relations
from pipecopy.postgres.names import CATALOG_PATH, quoted
from pipecopy.postgres.questions import Question
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import NO_TABLES, Table, with_partitions
from pipecopy.postgres.upsert import BATCH, SaveSql


def against_writing(table: Table, relations: Relations, *, deletes: bool) -> Iterator[Finding]:
    """Yield the reasons not to write there, and what one should know; `deletes`: to remove rows."""
    yield from _not_filled(table)
    yield from _rules(table, relations, deletes=deletes)
    yield from _children(table, relations)
    yield from _other_identities(table)
    yield from _cascades(table, relations, deletes=deletes)
    yield from _no_unique_index(table)
    if kind := NO_TABLES.get(table.kind):
        yield problem(f"table {table.sql} is {kind}, not a table")
    if table.kind == "p" and not any(row["is_child"] for row in relations.rows):
        yield problem(
            f"table {table.sql} is partitioned and has no partition: no row could be saved",
            "create the partitions first",
        )
    yield from _unlogged(table, relations)
    yield from _triggers(table, relations)


def takes_no_writes(session: ServerSession) -> Question[list[Finding]]:
    """Return the reasons for which the server takes no writes from this session at all."""
    found = []
    if session.server.is_standby:
        found.append(
            problem(
                "the server is a standby, which takes no writes",
                "name the primary; of several hosts, target_session_attrs=read-write finds it",
                what="standby",
            )
        )
    # what a session has that does not set it, as one that only reads does
    ((read_only, role, database),) = yield (
        f"{CATALOG_PATH}SELECT reset_val = 'on', session_user::text, current_database()::text"
        f" FROM pg_settings WHERE name = '{_READ_ONLY}'"
    )
    if read_only:
        remedy = f"ALTER ROLE {quoted(role)} IN DATABASE {quoted(database)} SET {_READ_ONLY} = off;"
        if _READ_ONLY in session.info.options.replace("-", "_").lower():  # --name=value, too
            remedy = f"take {_READ_ONLY} out of PGOPTIONS, or of the connection's options"
        found.append(
            problem(
                f"all transactions of the role {role} are read-only there ({_READ_ONLY})",
                remedy,
                what="read-only",
            )
        )
    return found


BATCH_TAGS = ("DROP TABLE", "CREATE TABLE AS", "CREATE INDEX")
"""Of the statements that make the temporary table of a batch, as event triggers know them."""


def event_triggers_refuse(
    session: ServerSession, table: Table, event_triggers: Sequence[str]
) -> Iterator[Finding]:
    """Say whether they refuse the temporary table that all batches need which meet rows."""
    names = tuple(column.name for column in table.columns)
    sql = SaveSql(table, names, "text", 0, 0)
    ((has_rows,),) = session.query(f"SELECT EXISTS (SELECT FROM {table.sql})")
    error = tried(session, [sql.create_batch, sql.index_batch])
    if error is None:
        return
    if not (error.sqlstate or "").startswith(ABOUT_THE_TABLE):
        raise error
    found = (
        f"event triggers ({', '.join(event_triggers)}) refuse the temporary table"
        f" {BATCH} for rows that may be there already: {error.diag.message_primary}"
    )
    remedy = disabled(event_triggers)
    if has_rows or not table.takes_direct:
        yield problem(found, remedy, what="event triggers")
    else:  # a save that is repeated needs it as well
        yield warning(found, remedy, what="event triggers")


_READ_ONLY = "default_transaction_read_only"


@dataclass(frozen=True)
class WithoutIdentity:
    """The tables whose rows the server refuses to update or remove."""

    names: str
    remedy: str


def without_identity(table: Table, *, deletes: bool) -> Question[WithoutIdentity | None]:
    """Return those of the table and its partitions that are published without replica identity.

    They count if updates are published, or with `deletes` removals.
    """
    rows = yield CATALOG_PATH + _WITHOUT_IDENTITY.format(
        tables=with_partitions(table), action="pubdelete" if deletes else "pubupdate"
    )
    if not rows:
        return None
    shown = rows[:_MOST_NAMED]
    more = f" (and {len(rows) - len(shown)} more)" if len(rows) > len(shown) else ""
    return WithoutIdentity(
        ", ".join(name for name, _ in shown) + more,
        " ".join(f"ALTER TABLE {name} REPLICA IDENTITY {identity};" for name, identity in shown),
    )


_MOST_NAMED = 5
_WITHOUT_IDENTITY = """
    WITH published AS (
        SELECT c.oid
        FROM pg_publication p
        JOIN pg_publication_tables t ON t.pubname = p.pubname
        JOIN pg_namespace n ON n.nspname = t.schemaname
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
        WHERE p.{action}
    ), unique_indexes AS (
        SELECT * FROM pg_index
        WHERE indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL
    )
    SELECT c.oid::regclass::text, coalesce((
        SELECT 'USING INDEX ' || quote_ident(ic.relname)
        FROM unique_indexes i JOIN pg_class ic ON ic.oid = i.indexrelid
        WHERE i.indrelid = c.oid AND NOT EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = c.oid AND attnum = ANY (i.indkey) AND NOT attnotnull)
        ORDER BY i.indnkeyatts, ic.relname LIMIT 1), 'FULL')
    FROM pg_class c
    WHERE c.oid IN ({tables}) AND c.relkind = 'r' AND c.relreplident <> 'f'
      AND (c.oid IN (SELECT oid FROM published)  -- a partition by its parents too
           OR EXISTS (SELECT FROM pg_partition_ancestors(c.oid) JOIN published ON oid = relid))
      AND NOT EXISTS (
          SELECT FROM unique_indexes i WHERE i.indrelid = c.oid AND (
              c.relreplident = 'd' AND i.indisprimary
              OR c.relreplident = 'i' AND i.indisreplident))
    ORDER BY 1
"""


def no_replica_identity(table: Table, *, deletes: bool) -> Question[list[Finding]]:
    """Warn if the server refuses to change, or remove, rows."""
    replaced = table.unique_index is None
    found = yield from without_identity(table, deletes=replaced or deletes)
    if found is None and deletes:
        found = yield from without_identity(table, deletes=False)
    if found is None:
        return []
    return [
        warning(
            "published without a replica identity, so the server refuses to change or remove rows"
            f" of {found.names}: new rows are saved, and one that differs is an error",
            found.remedy,
        )
    ]


def _not_filled(table: Table) -> Iterator[Finding]:
    for column in table.others:
        if column.needs_value:
            yield problem(
                f"column {quoted(column.name)} is not copied, may not be NULL and has"
                " no default: no row could be inserted",
                f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(column.name)} DROP NOT NULL;"
                if not column.shape.not_null
                else f"give {quoted(column.name)} a default",
            )


def _no_unique_index(table: Table) -> Iterator[Finding]:
    """Refuse what can't keep the values of the columns that are not copied."""
    if table.unique_index is not None or table.key is None:
        return
    found = f"table {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
    remedy = _unique_index(table)
    if remedy is None:
        others = ", ".join(quoted(name) for name in table.partitioned_by if name)
        found = (
            f"table {table.sql} is partitioned by {others or 'an expression'}, so no unique"
            f" index can be on {table.key_sql} alone, and rows"
        )
    if table.others:
        names = ", ".join(quoted(column.name) for column in table.others)
        yield problem(
            f"{found} that changed would be removed and inserted again, and would lose their values"
            f" of the columns that are not copied ({names})",
            remedy or "copy all columns",
        )
    if table.has_children:
        return
    if table.ordered_index:
        yield warning(f"{found} that changed are removed and inserted again", remedy)
        return
    yield warning(
        f"{found} that changed are removed and inserted again, and each batch may read the whole"
        " table",
        remedy or f"CREATE INDEX ON {table.sql} ({table.key_sql});",
    )


def _unique_index(table: Table) -> str | None:
    """Return how to make a unique index on the key alone, None if there can be none."""
    if not table.may_be_unique:
        return None
    create = f"CREATE UNIQUE INDEX ON {table.sql} ({table.key_sql});"
    if table.has_wider_unique_index:
        return f"if {table.key_sql} is unique by itself: {create}"
    return create


def _children(table: Table, relations: Relations) -> Iterator[Finding]:
    """Refuse those: their rows would be compared and removed too, and no unique index is theirs."""
    if table.has_children:
        names = ", ".join(row["name"] for row in relations.rows if row["is_child"])
        yield problem(
            f"table {table.sql} has tables that inherit from it ({names})",
            "copy into a table that others do not inherit from (`target_table`)",
        )


def _unlogged(table: Table, relations: Relations) -> Iterator[Finding]:
    """Of a partitioned table, the partitions hold the rows."""
    of_table = (row for row in relations.rows if row["is_child"] or row["oid"] == table.oid)
    unlogged = [r["name"] for r in of_table if r["persistence"] == "u" and r["kind"] == "r"]
    if unlogged:
        yield warning(
            "UNLOGGED, so emptied when the server crashes or a standby takes over:"
            f" {', '.join(unlogged)}",
            " ".join(f"ALTER TABLE {name} SET LOGGED;" for name in unlogged),
        )


def _rules(table: Table, relations: Relations, *, deletes: bool) -> Iterator[Finding]:
    events = {"INSERT", "UPDATE"}
    if deletes or table.unique_index is None:
        events.add("DELETE")
    for found in relations.firing:
        if found["kind"] == "rule" and found["oid"] == table.oid and found["event"] in events:
            yield problem(
                f"table {table.sql} has the {found['event']} rule {found['name']}, which would"
                " rewrite the copy",
                f"ALTER TABLE {table.sql} DISABLE RULE {found['name']};",
            )


def _other_identities(table: Table) -> Iterator[Finding]:
    for column in table.columns:
        if column.always_identity and column != table.key:
            yield problem(
                f"column {quoted(column.name)} is GENERATED ALWAYS AS IDENTITY and not"
                " the key: a row that is there already could not be updated",
                f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(column.name)}"
                " SET GENERATED BY DEFAULT;",
            )


def _triggers(table: Table, relations: Relations) -> Iterator[Finding]:
    """Those of the partitions fire too."""
    triggers = [found for found in relations.firing if found["kind"] == "trigger"]
    names = [
        trigger["name"] if trigger["oid"] == table.oid else f"{trigger['name']} of {trigger['of']}"
        for trigger in triggers
    ]
    if names:
        # each where it is: what is said to a partitioned table does not reach one of a partition
        yield warning(
            f"triggers of {table.sql} fire for the copied rows: {', '.join(names)}",
            " ".join(f"ALTER TABLE {t['of']} DISABLE TRIGGER {t['name']};" for t in triggers),
        )


def _cascades(table: Table, relations: Relations, *, deletes: bool) -> Iterator[Finding]:
    """See what else would be removed or changed with rows that are removed, or inserted again."""
    if table.key is None or (table.unique_index is not None and not deletes):
        return
    why = f"surplus rows of {table.sql} would be removed"
    if table.unique_index is None:
        why = (
            f"table {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
            " that changed would be removed and inserted again"
        )
    for key in relations.cascades:
        yield problem(
            f"{why}, and the foreign key {key['name']} of {key['of']} ON DELETE {key['action']}"
            " would change the rows there",
            _unique_index(table) if table.unique_index is None else None,
        )
