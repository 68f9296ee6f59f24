"""PostgresPool: opens databases by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipecopy.arguments import wrong_text
from pipecopy.contracts import Session
from pipecopy.errors import ConfigError
from pipecopy.postgres.conninfo import wrong_name
from pipecopy.redact import parameters_in, shown_name

if TYPE_CHECKING:
    from pipecopy.postgres.database import PostgresDatabase
    from pipecopy.postgres.rowtext import JsonForm


class PostgresPool:
    """A `ConnectionPool` over psycopg 3, for one table.

    `connect(name)` finds `name` in `connections`, else takes it as a libpq URI or conninfo, else
    as a libpq service name. It pickles, passwords included, and its `repr` shows none.
    """

    def __init__(
        self,
        connections: Mapping[str, str] | None = None,
        *,
        table: str = "profiles",
        target_table: str | None = None,
        key: str = "id",
        columns: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        where: str | None = None,
        create: bool = False,
        analyze: bool = False,
        json: JsonForm | None = None,
        session_pooler: bool = False,
        two_servers: bool = False,
        ledger: str = "pipecopy_shards",
    ) -> None:
        """Take note of what is copied; nothing is opened yet.

        Names are written as psql takes them: `name`, `schema.name`, `"Quoted"."Name"`.

        Args:
            connections: connection strings by name.
            table: the table on both sides.
            target_table: the table on the target, if it has another name.
            key: the integer column by which the table is copied.
            columns: those that are copied, the key among them in any case; None for all. The
                target's other columns keep their values, and get their defaults in new rows.
            exclude: those that are not copied, instead of `columns`: one of the source that the
                target lacks, or the other way round. Generated columns are not compared either.
            where: a condition in SQL; only the source's rows that meet it are copied.
            create: create the table on the target, like the source table, if it is missing.
            analyze: after the last batch of a copy, have the target gather the statistics of its
                table anew (ANALYZE).
            json: what the source's driver makes of JSON, for a target whose source is not this
                package: "text" if `"abc"` comes with its quotes, "decoded" if it comes as
                the string abc. None is enough if no str is JSON.
            session_pooler: a connection pooler on the way is in session mode; without this, a
                pooler is refused.
            two_servers: source and target are two servers, and the one that is a standby does not
                follow the other; without this, a copy is refused if that can't be told.
            ledger: the table on the target in which a sharded run keeps how far its shards are; a
                name without a schema is in `public`, whatever the role's search path.

        Raises:
            ConfigError: `columns`, `exclude`, `where` or `json` is not valid.

        """
        named = {"table": table, "key": key, "ledger": ledger}
        named |= {} if target_table is None else {"target_table": target_table}
        _check_arguments(columns=columns, exclude=exclude, where=where, json=json, **named)
        self._connections = dict(connections or {})
        self._table = table
        self._target_table = target_table
        self._key = key
        self._columns = None if columns is None else tuple(columns)
        self._exclude = () if exclude is None else tuple(exclude)
        self._where = where
        self._create = create
        self._analyze = analyze
        self._json: JsonForm | None = json
        self._session_pooler = session_pooler
        self._two_servers = two_servers
        self._ledger = ledger
        self._session: Session | None = None

    @property
    def connections(self) -> Mapping[str, str]:
        """The named connection strings, passwords included."""
        return MappingProxyType(self._connections)

    @property
    def table(self) -> str:
        """The table on the source, as it was named."""
        return self._table

    @property
    def target_table(self) -> str:
        """The table on the target."""
        return self._target_table or self._table

    @property
    def key(self) -> str:
        """The integer column by which the table is copied."""
        return self._key

    @property
    def where(self) -> str | None:
        """The condition that the copied rows meet; None for all rows."""
        return self._where

    @property
    def selection(self) -> Mapping[str, Any]:
        """What is copied, as plain values: a sharded run goes on with the very same alone."""
        columns, exclude = self._columns, self._exclude
        return {
            "table": self.table,
            "target_table": self.target_table,
            "key": self._key,
            "columns": None if columns is None else list(columns),
            "exclude": list(exclude),
            "where": self._where,
        }

    def for_session(self, session: Session) -> PostgresPool:
        """Return a pool whose sessions carry the run's name, and its limits."""
        pool = copy.copy(self)
        pool._session = session  # noqa: SLF001 - its own
        return pool

    def connect(self, dbname: str) -> PostgresDatabase:
        """Open the database.

        Raises TimeoutError when the server did not answer in time, psycopg's errors when it
        refused, PostgresError for a name that says nothing or a pooler, TargetInUseError if another
        copy holds the target.
        """
        # these load psycopg, which takes 70 ms: a supervisor hands the pool on without it
        from pipecopy.postgres.connection import Connection, find_server  # noqa: PLC0415 - as said
        from pipecopy.postgres.database import PostgresDatabase  # noqa: PLC0415 - as said
        from pipecopy.postgres.look import look_sql  # noqa: PLC0415 - as said
        from pipecopy.postgres.selection import Selection  # noqa: PLC0415 - as said

        session = self._session
        on_target = session is not None and session.side == "target"
        copies = session is not None and on_target and session.mode != "verify"
        selection = Selection(
            table=self.target_table if on_target else self.table,
            key=self._key,
            columns=self._columns,
            exclude=self._exclude,
            where=self._where,
        )
        connection = Connection(
            find_server(dbname, self._connections),
            run=session,
            table=selection.table,
            session_pooler=self._session_pooler,
            questions=look_sql(selection),
        )
        connection.open()
        return PostgresDatabase(
            connection,
            selection,
            other=None if session is None else session.other,
            # a check says what a copy would do; a repair does neither
            creates=self._create and copies,
            analyzes=self._analyze and copies,
            two_servers=self._two_servers,
            json=self._json,
            ledger=self._ledger,
        )

    def check_name(self, dbname: str) -> str | None:
        """Say what is wrong with the name, with no password in it; None if nothing is.

        Nothing is connected to. A bare name has to be one of `connections`, or a service of libpq.
        """
        if wrong := wrong_text(dbname):
            return f"it {wrong}"
        return wrong_name(dbname, self._connections)

    def has_password(self, dbname: str) -> bool:
        """Return whether the pool has a password of it, in its connection string."""
        found = parameters_in(self._connections.get(dbname, dbname))
        return any(one.is_secret for one in found or ())

    def end_sessions(self, dbname: str) -> str | None:
        """End what killed workers of this session left on the server; return what that was."""
        from pipecopy.postgres.connection import Connection, find_server  # noqa: PLC0415 - as above

        return Connection(
            find_server(dbname, self._connections),
            run=self._session,
            table=self.target_table,
            session_pooler=self._session_pooler,
        ).end_orphans()

    def __repr__(self) -> str:
        names = ", ".join(sorted(map(shown_name, self._connections)))
        return f"PostgresPool(<{names}>, table={self._table!r}, key={self._key!r})"


def _check_arguments(
    *, columns: object, exclude: object, where: object, json: object, **named: object
) -> None:
    """Raise ConfigError for what is not valid, with all that is wrong with it."""
    bad = [f"{argument} {wrong}" for argument, text in named.items() if (wrong := wrong_text(text))]
    bad += [*_wrong_names("columns", columns), *_wrong_names("exclude", exclude)]
    if columns is not None and exclude is not None:
        bad.append("exclude does not go with columns, which names all that is copied")
    if where is not None:
        if not isinstance(where, str):
            bad.append(f"where must be a condition as text, not {type(where).__name__}")
        elif wrong := wrong_text(where):
            bad.append(f"where {wrong}")
    if json is not None and json not in ("text", "decoded"):
        bad.append(f'json must be "text" or "decoded", not {json!r:.50}')
    if bad:
        raise ConfigError("; ".join(bad))


def _wrong_names(argument: str, names: object) -> Iterator[str]:
    if names is None:
        return
    if not isinstance(names, Sequence) or isinstance(names, str | bytes):
        yield f"{argument} must be a sequence of names, not {type(names).__name__}"
    elif not names:
        yield f"{argument} must be names, at least one"
    else:
        wrong = {found: name for name in names if (found := wrong_text(name))}
        yield from (f"{argument}: {name!r} {found}" for found, name in wrong.items())
