# ruff: noqa: S608 - SQL is what this file writes; names are quoted, the rest are numbers
"""The SQL that saves a batch, by any search path: see reader.py."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.pq.abc import PGresult

from pipecopy.postgres.guard import fail, greatest_key
from pipecopy.postgres.names import quoted
from pipecopy.postgres.reader import BIGGEST, keys
from pipecopy.postgres.rows import CopyFormat
from pipecopy.postgres.table import Table

BATCH_NAME = "pipecopy_batch"
BATCH = f"pg_temp.{BATCH_NAME}"
BATCH_INDEX = f"{BATCH_NAME}_key"

SHORT_OF_ROWS = "pipecopy: short of rows"
"""Begins what a statement says that saved fewer rows than it should have."""
ROWS_DIFFER = "pipecopy: rows differ"
"""Begins what a statement says that met rows which it was not to change."""


def _eq(one: str, other: str) -> str:
    return f"{one} OPERATOR(pg_catalog.=) {other}"


@dataclass(frozen=True)
class SaveSql:
    """The statements that save one batch: of these columns, with keys from `first` to `last`."""

    table: Table
    columns: tuple[str, ...]
    format: CopyFormat
    first: int
    last: int

    @property
    def direct(self) -> str:
        """COPY straight into the table."""
        return self._copy(self.table.sql)

    @property
    def create_batch(self) -> str:
        """Make the temporary table, once a session."""
        return (
            f"DROP TABLE IF EXISTS {BATCH};"  # a pool's server session may have one
            f" CREATE TEMPORARY TABLE {BATCH_NAME} ON COMMIT DELETE ROWS AS"
            f" SELECT {self.column_list()} FROM {self.table.sql} WITH NO DATA"
        )

    @property
    def index_batch(self) -> str:
        """Let the temporary table refuse a key that is there twice."""
        return f"CREATE UNIQUE INDEX {BATCH_INDEX} ON {BATCH} ({self._key()})"

    @property
    def plan(self) -> str:
        """Keep the planner, for this transaction, from loops over two tables without statistics.

        Measured: a second copy of 300,000 rows over a target without an index, 3,000 a batch, took
        73 s with them.
        """
        return "SET LOCAL enable_nestloop TO off"

    @property
    def copy_batch(self) -> str:
        """COPY into the temporary table.

        A name in a value is written without its schema if that is pg_catalog, so it is looked for
        there first; then by the role's path, by which all else runs.
        """
        if not self.table.has_names:
            return self._copy(BATCH)
        path = "pg_catalog.concat('pg_catalog, ', pg_catalog.current_setting('search_path'))"
        return (
            # without the comma that an empty path leaves
            f"SELECT pg_catalog.set_config('search_path', pg_catalog.rtrim({path}, ', '), true);"
            f" {self._copy(BATCH)}; SET LOCAL search_path TO DEFAULT"
        )

    @property
    def upsert(self) -> str:
        """Insert or update the rows of the temporary table that differ; count them, and the new.

        Row images are compared: `IS DISTINCT FROM` calls numeric 1.0 and 1.00 equal, and does not
        exist for json. The join leaves equal rows alone (`DO UPDATE … WHERE` would lock, and so
        write, each); it keeps to the batch's range, so that it never reads the whole table,
        whatever the planner believes of a temporary table without statistics.

        New are those whose key the table lacks in the statement's own snapshot, in which it has
        none of these. (Their `xmax` would tell too, but it may be read with a right to the whole
        table alone.)
        """
        differing = (
            f"SELECT {self.column_list('s')} FROM {BATCH} AS s LEFT JOIN {self.table.sql} AS o"
            f" ON {_eq(f'o.{self._key()}', f's.{self._key()}')} AND {self._between('o')}"
            f" WHERE o.{self._key()} IS NULL OR {self._differ('o', 's')}"
        )
        if not self.table.before_triggers:
            only = f" WHERE {self._differ('t', 'excluded')}"
            return f"WITH {self._saved(differing, only)} {self._count_saved()}"
        # without the WHERE: a trigger may make a row what it is already, and it was not dropped
        return (
            f"WITH differing AS MATERIALIZED ({differing}), {self._saved('TABLE differing')}"
            f" {self._count_saved(refuse_fewer('saved', 'TABLE differing'))}"
        )

    def _count_saved(self, also: str = "NULL") -> str:
        key = self._key()
        return (
            f"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE o.{key} IS NULL),"
            f" ({also}) FROM saved AS s LEFT JOIN {self.table.sql} AS o"
            f" ON {_eq(f'o.{key}', 's.key')} AND {self._between('o')}"
        )

    def _saved(self, rows: str, only: str = "") -> str:
        others = [quoted(name) for name in self.columns if name != self.table.keyed.name]
        updates = ", ".join(f"{name} = excluded.{name}" for name in others)
        action = f"UPDATE SET {updates}{only}" if others else "NOTHING"
        return (
            f"saved (key) AS (INSERT INTO {self.table.sql} AS t ({self.column_list()})"
            f" OVERRIDING SYSTEM VALUE {rows} ON CONFLICT ({self._key()}) DO {action}"
            f" RETURNING t.{self._key()})"
        )

    @property
    def next_taken(self) -> str:
        """Find the first key in the table after this batch: below it, a COPY meets no row."""
        return self._least(">", min(self.last, BIGGEST))

    @property
    def first_taken(self) -> str:
        """Find the first key in the table from the beginning of this batch on."""
        return self._least(">=", self.first)

    def _least(self, sign: str, than: int) -> str:
        key = self._key()
        return (
            f"SELECT pg_catalog.min({key}) FROM {self.table.sql}"
            f" WHERE {key} OPERATOR(pg_catalog.{sign}) {than}"
        )

    @property
    def replace(self) -> str:
        """Remove the rows with the batch's keys, and insert the batch's; equal rows stay.

        For a table without a unique index on the key, where a key may be there several times. The
        last result but one counts the rows that take the place of others.
        """
        key, also = self._key(), "NULL"
        if self.table.before_triggers:
            also = refuse_fewer("removed", f"SELECT {self._stale}")
        remove = (
            f"WITH removed (key) AS (DELETE {self._stale} RETURNING o.{key})"
            f" SELECT pg_catalog.count(*), ({also}) FROM {BATCH}"
            f" WHERE {_eq(key, 'ANY (SELECT removed.key FROM removed)')}"
        )
        return f"{self._drop_equal}; {remove}; {self._insert}"

    @property
    def insert_new(self) -> str:
        """Insert the rows with new keys, and fail if others differ from the table's.

        For a table whose rows the server refuses to update or to remove, even no row at all.
        """
        drop = [self._drop_equal]
        if self.table.unique_index is None:
            drop.append(self._drop_equal_groups)
        return f"{'; '.join(drop)}; {_refuse_any(f'SELECT {self._stale}')}; {self._insert}"

    @property
    def _stale(self) -> str:
        """The table's rows whose keys are in the batch."""
        key = self._key()
        return (
            f"FROM {self.table.sql} AS o WHERE {self._between('o')}"
            f" AND {_eq(f'o.{key}', f'ANY (SELECT {key} FROM {BATCH})')}"
        )

    @property
    def _insert(self) -> str:
        """Insert all rows of the batch; the result is that of an INSERT, or counts them."""
        insert = (
            f"INSERT INTO {self.table.sql} ({self.column_list()}) OVERRIDING SYSTEM VALUE"
            f" SELECT {self.column_list()} FROM {BATCH}"
        )
        if not self.table.before_triggers:
            return insert
        refused = refuse_fewer("saved", f"TABLE {BATCH}")
        count = f"SELECT pg_catalog.count(*), ({refused}) FROM saved"
        return f"WITH saved AS ({insert} RETURNING 1) {count}"

    @property
    def _drop_equal(self) -> str:
        """Drop the rows from the batch that are in the table already, each once."""
        key = self._key()
        return (
            f"DELETE FROM {BATCH} WHERE {_eq(key, f'ANY (SELECT s.{key} FROM {BATCH} AS s')}"
            f" JOIN {self.table.sql} AS o"
            f" ON {_eq(f'o.{key}', f's.{key}')} AND {self._between('o')}"
            f" GROUP BY s.{key} HAVING {_eq('pg_catalog.count(*)', '1')} AND pg_catalog.bool_and("
            f"{self._image('o')} OPERATOR(pg_catalog.*=) {self._image('s')}))"
        )

    @property
    def _drop_equal_groups(self) -> str:
        """Drop the rows from the batch whose key is in the table as often, with the same values."""
        key = self._key()

        def groups(rows: str, alias: str) -> str:
            text = f'{self._image(alias)}::pg_catalog.text COLLATE pg_catalog."C"'
            return (
                f"SELECT {alias}.{key}, pg_catalog.array_agg({text} ORDER BY {text}) AS texts"
                f" FROM {rows} GROUP BY {alias}.{key}"
            )

        in_range = f"{self.table.sql} AS t WHERE {self._between('t')}"
        return (
            f"DELETE FROM {BATCH} WHERE {_eq(key, f'ANY (SELECT s.{key}')}"
            f" FROM ({groups(f'{BATCH} AS b', 'b')}) AS s JOIN ({groups(in_range, 't')}) AS o"
            f" ON {_eq(f'o.{key}', f's.{key}')} AND {_eq('o.texts', 's.texts')})"
        )

    @property
    def highest(self) -> str:
        """Find the greatest key in the table; NULL if it is empty."""
        return greatest_key(self.table)

    def _copy(self, into: str) -> str:
        copy = f"COPY {into} ({self.column_list()}) FROM STDIN (FORMAT {self.format})"
        return self.table.copying(copy)

    def column_list(self, alias: str = "") -> str:
        prefix = f"{alias}." if alias else ""
        return ", ".join(prefix + quoted(name) for name in self.columns)

    def _image(self, alias: str) -> str:
        # without the cast the comparison would be expanded by column, and fail
        return f"ROW({self.column_list(alias)})::pg_catalog.record"

    def _differ(self, one: str, other: str) -> str:
        return f"{self._image(one)} OPERATOR(pg_catalog.*<>) {self._image(other)}"

    def _key(self) -> str:
        return self.table.key_sql

    def _between(self, alias: str) -> str:
        return keys(f"{alias}.{self._key()}", self.first, self.last)


def _refuse_any(rows: str) -> str:
    """Fail if there are any of these rows."""
    message = f"'{ROWS_DIFFER}, ', rows"
    return (
        f"SELECT CASE WHEN rows OPERATOR(pg_catalog.>) 0 THEN {fail(message)} END"
        f" FROM (SELECT pg_catalog.count(*) FROM ({rows}) AS found) AS counted (rows)"
    )


def refuse_fewer(done: str, due: str) -> str:
    """Fail if the rows of `done` are fewer than those of `due`."""
    message = f"'{SHORT_OF_ROWS}, ', done, ' of ', due"
    return (
        f"SELECT CASE WHEN done OPERATOR(pg_catalog.<) due THEN {fail(message)} END"
        f" FROM (SELECT pg_catalog.count(*) FROM {done}) AS a (done),"
        f" (SELECT pg_catalog.count(*) FROM ({due}) AS rows) AS b (due)"
    )


def number(result: PGresult, column: int = 0) -> int:
    """Return what a statement has counted."""
    return int(result.get_value(0, column) or 0)


def written(result: PGresult) -> int:
    """Return how many rows an INSERT has written: by its tag, or as it has counted them."""
    return number(result) if result.ntuples else result.command_tuples or 0
