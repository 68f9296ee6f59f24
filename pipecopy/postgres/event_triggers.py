# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""Event triggers, which fire for DDL: for the table that a copy creates, and for its temporary one.

What they refuse, nobody can read from the catalogs: so if some fire, the statements are tried, in a
transaction that ends with an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psycopg

from pipecopy.postgres.guard import fail
from pipecopy.postgres.names import CATALOG_PATH, literal
from pipecopy.postgres.questions import Question
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import fires

_UNDONE = "pipecopy: undone"
"""What a trial ends with that went well."""


def fire_for(tags: Sequence[str]) -> Question[tuple[str, ...]]:
    """Return the names, as SQL has them, of those that fire for the commands."""
    listed = ", ".join(map(literal, tags))
    rows = yield (
        f"{CATALOG_PATH}SELECT quote_ident(evtname) FROM pg_event_trigger"
        f" WHERE {fires('evtenabled')} AND (evttags IS NULL OR evttags && ARRAY[{listed}])"
        " AND evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop')"
        " AND coalesce(current_setting('event_triggers', true), 'on') = 'on' ORDER BY 1"
    )
    return tuple(name for (name,) in rows)


def disabled(names: Iterable[str]) -> str:
    """Return SQL that disables them."""
    return " ".join(f"ALTER EVENT TRIGGER {name} DISABLE;" for name in names)


def tried(session: ServerSession, statements: Iterable[str]) -> psycopg.Error | None:
    """Run the statements and undo them all; return the error of one that fails.

    In a session that is read-only too: nothing of it stays.
    """
    failing = f"SELECT {fail(literal(_UNDONE))}"
    sql = "; ".join(["SET TRANSACTION READ WRITE", *statements, failing])
    try:
        session.query_all(sql)
    except psycopg.Error as error:
        is_undone = isinstance(error, psycopg.errors.InvalidTextRepresentation)
        return None if is_undone and _UNDONE in str(error) else error
    return None
