# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""What speaks against writing to a table, beyond the rights to it."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.contracts import HELP
from pipecopy.postgres.connection import Line
from pipecopy.postgres.names import CATALOG_PATH, quoted
from pipecopy.postgres.session import Query
from pipecopy.postgres.table import NO_TABLES, Table, ask_catalogs, fires, with_partitions


def problems_of_writing(line: Line, table: Table, *, deletes: bool = False) -> list[str]:
    """Return the reasons not to write there, as sentences; `deletes`: to remove rows too."""
    return [
        *_not_filled(table),
        *_rules(line, table, deletes=deletes),
        *_children(line, table),
        *_other_identities(table),
        *_cascades(line, table, deletes=deletes),
        *_others_replaced(table),
        *_not_a_table(table),
    ]


def warnings_of_writing(line: Line, table: Table, *, deletes: bool = False) -> list[str]:
    """Return what one should know before writing there, as sentences."""
    return [
        *_unlogged(line, table),
        *_triggers(line, table),
        *_no_unique_index(table),
        *_no_replica_identity(line, table, deletes=deletes),
    ]


@dataclass(frozen=True)
class WithoutIdentity:
    """The tables whose rows the server refuses to update or remove."""

    names: str
    remedy: str


def without_identity(query: Query, table: Table, *, deletes: bool) -> WithoutIdentity | None:
    """Return those of the table and its partitions that are published without replica identity.

    They count where updates are published, or with `deletes` removals.
    """
    rows = query(
        CATALOG_PATH
        + _WITHOUT_IDENTITY.format(
            tables=with_partitions(table), action="pubdelete" if deletes else "pubupdate"
        )
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


def _no_replica_identity(line: Line, table: Table, *, deletes: bool) -> list[str]:
    replaced = table.unique_index is None
    found = without_identity(line.query, table, deletes=replaced or deletes)
    if found is None and deletes:
        found = without_identity(line.query, table, deletes=False)
    if found is None:
        return []
    return [
        (
            f"Published without a replica identity, so the server refuses to change or remove rows"
            f" of {found.names}: new rows are saved, and one that differs is an error."
            f"{HELP}{found.remedy}"
        )
    ]


def _not_filled(table: Table) -> list[str]:
    return [
        f"The target's column {quoted(column.name)} is not copied, may not be NULL and has no"
        " default: no row could be inserted."
        for column in table.others
        if column.needs_value
    ]


def _others_replaced(table: Table) -> list[str]:
    """Refuse what can't keep the values of the columns that are not copied."""
    if table.unique_index is not None or not table.others or table.key is None:
        return []
    names = ", ".join(quoted(column.name) for column in table.others)
    return [
        (
            f"The target {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
            f" that changed would be removed and inserted again, and would lose their values of the"
            f" columns that are not copied ({names})."
            f"{HELP}CREATE UNIQUE INDEX ON {table.sql} ({table.key_sql});"
        )
    ]


def _not_a_table(table: Table) -> list[str]:
    kind = NO_TABLES.get(table.kind)
    return [f"The target {table.sql} is {kind}, not a table."] if kind else []


def _children(line: Line, table: Table) -> list[str]:
    """Refuse those: their rows would be compared and removed too, and no unique index is theirs."""
    if not table.has_children:
        return []
    ((names,),) = ask_catalogs(
        line,
        "SELECT string_agg(inhrelid::regclass::text, ', ' ORDER BY inhrelid) FROM pg_inherits"
        f" WHERE inhparent = {table.oid}",
    )
    return [f"The target {table.sql} has tables that inherit from it ({names})."]


def _unlogged(line: Line, table: Table) -> list[str]:
    """Of a partitioned table, the partitions hold the rows."""
    ((names,),) = ask_catalogs(
        line,
        "SELECT string_agg(oid::regclass::text, ', ' ORDER BY oid) FROM pg_class"
        f" WHERE relpersistence = 'u' AND relkind = 'r' AND oid IN ({with_partitions(table)})",
    )
    if names is None:
        return []
    return [f"UNLOGGED, so emptied when the server crashes or a standby takes over: {names}."]


def _rules(line: Line, table: Table, *, deletes: bool) -> list[str]:
    events = {"2": "UPDATE", "3": "INSERT", "4": "DELETE"}
    if table.unique_index is not None and not deletes:
        del events["4"]
    return [
        f"The target {table.sql} has the {events[event]} rule {name}, which would rewrite the copy."
        for name, event in ask_catalogs(
            line,
            f"SELECT rulename::text, ev_type::text FROM pg_rewrite WHERE ev_class = {table.oid}"
            f" AND {fires('ev_enabled')} ORDER BY 1",
        )
        if event in events
    ]


def _other_identities(table: Table) -> list[str]:
    return [
        f"The target's column {quoted(column.name)} is GENERATED ALWAYS AS IDENTITY and not the"
        " key: a row that is there already could not be updated."
        for column in table.columns
        if column.always_identity and column != table.key
    ]


def _triggers(line: Line, table: Table) -> list[str]:
    names = [
        str(name)
        for (name,) in ask_catalogs(
            line,
            # those of the partitions fire too; a partition's copy of the table's own is the same
            "WITH firing AS (SELECT * FROM pg_trigger WHERE NOT tgisinternal"
            f" AND {fires('tgenabled')} AND tgrelid IN ({with_partitions(table)}))"
            " SELECT quote_ident(tgname) ||"
            f" CASE WHEN tgrelid = {table.oid} THEN '' ELSE ' of ' || tgrelid::regclass END"
            " FROM firing WHERE tgparentid NOT IN (SELECT oid FROM firing) ORDER BY 1",
        )
    ]
    if not names:
        return []
    return [
        (
            f"Triggers of the target {table.sql} fire for the copied rows: {', '.join(names)}."
            f"{HELP}ALTER TABLE {table.sql} DISABLE TRIGGER USER;"
        )
    ]


def _cascades(line: Line, table: Table, *, deletes: bool) -> list[str]:
    """See what else would be removed or changed with rows that are removed, or inserted again."""
    if table.key is None:
        return []
    if table.unique_index is None:
        why = (
            f"The target {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
            " that changed would be removed and inserted again"
        )
    elif deletes:
        why = f"Surplus rows of the target {table.sql} would be removed"
    else:
        return []
    return [
        f"{why}, and the foreign key"
        f" {name} of {referencing} ON DELETE {action} would change the rows there."
        for name, referencing, action in ask_catalogs(
            line,
            # the copies that partitions have of a foreign key are the same
            "WITH acting AS (SELECT * FROM pg_constraint WHERE contype = 'f'"
            f" AND confdeltype IN ('c', 'n', 'd') AND confrelid IN ({with_partitions(table)}))"
            " SELECT quote_ident(conname), conrelid::regclass::text, CASE confdeltype"
            " WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'SET DEFAULT' END"
            " FROM acting WHERE conparentid NOT IN (SELECT oid FROM acting) ORDER BY 1, 2",
        )
    ]


def _no_unique_index(table: Table) -> list[str]:
    if table.unique_index is not None or table.key is None or table.has_children:
        return []
    return [
        (
            f"The target {table.sql} has no valid unique index on {table.key_sql} alone, so rows"
            " that changed are removed and inserted again, and each batch may read the whole"
            f" table.{HELP}CREATE UNIQUE INDEX ON {table.sql} ({table.key_sql});"
        )
    ]
