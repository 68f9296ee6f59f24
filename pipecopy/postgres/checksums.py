"""Checksums of rows, made on the server, that are the same on both sides for equal rows.

A row's checksum is of the text of its values, since types may differ, and versions of the server
with them: the settings of a session see to it that a value has one text (session_start.py), but
for those of versions.py. Of a bytea it is of the bytes: its text is twice as long, and one of more
than half a gigabyte has none. A range's is the sum of its rows', so that their order does not
count. All functions are named with their schema: a user's of the same name may fit better.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import psycopg

from pipecopy.contracts import Side, TableDescription
from pipecopy.errors import is_of_a_row
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.guard import Guard, is_guards
from pipecopy.postgres.names import CATALOG_PATH, quoted
from pipecopy.postgres.questions import Question, ask
from pipecopy.postgres.reader import Reader, aggregated
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import Table, TableColumn
from pipecopy.postgres.unreadable import failing_column
from pipecopy.postgres.versions import hashed, version_of

_PROBE = "pipecopy, 0123456789 abcdefghijklmnopqrstuvwxyz"
_SHA256 = "sha256"
_BYTEA = 17
_DATA_EXCEPTION = "22"
"""The class of SQLSTATEs of which the server's message quotes the value."""
_NESTED = 100
"""Columns whose hashes are nested: the server's stack bears many more, but not 1,600."""

_UNIQUE = """
SELECT c.relname::text, json_agg(a.attname ORDER BY k)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
CROSS JOIN generate_series(0, i.indnkeyatts - 1) AS k
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k]
WHERE i.indrelid = {oid} AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY c.oid, c.relname HAVING NOT bool_or(a.attnum = {key}) ORDER BY c.relname
"""

_DOMAIN = re.compile(r".*? \(domain over (.*)\)")
_VARCHAR = re.compile(r"character varying\((\d+)\)")
_AS_READ = ("text", "xml", "json")
_KEYWORDS = (
    "bigint",
    "bit",
    "boolean",
    "character",
    "double precision",
    "integer",
    "interval",
    "numeric",
    "real",
    "smallint",
    "time",
)
"""How the names of those types begin that SQL's grammar knows: no schema may be before them."""
_CUT_BY_CASTS = ("character", "bit", "reg")
"""How the names of those types begin whose input function raises an error where a cast would cut a
text, or would read it in another way."""


class Checksums:
    """Makes the checksums of one side's rows in one session."""

    def __init__(
        self,
        session: ServerSession,
        guard: Guard,
        table: Table,
        reader: Reader,
        *,
        other: Any,
        side: Side | None,
    ) -> None:
        self._session = session
        self._guard = guard
        self._table = table
        self._reader = reader
        self._other = other if isinstance(other, TableDescription) else None
        self._side = side
        self._known_hashes: dict[bool, str] = {}

    def of_range(self, first: int, past_last: int) -> tuple[int, int]:
        """Return the number of the rows, and their checksum."""
        total = f"coalesce(pg_catalog.sum({self._hash()}), 0)::pg_catalog.text"
        try:
            ((rows, checksum),) = self._guard.query(
                aggregated(self._table, first, past_last - 1, f"pg_catalog.count(*), {total}")
            )
        except psycopg.Error as error:
            explained = self._explained(error, first, past_last)
            if explained is None:
                raise
            raise explained from error
        self._reader.in_gap = not rows
        return rows, int(checksum)

    def of_rows(
        self, first: int, past_last: int, *, copied: bool = False
    ) -> list[tuple[int, int, int]]:
        """Return the id, its rows and their checksum, for each id; `copied`: of what is copied."""
        key = self._table.key_sql
        found = self._guard.query(
            aggregated(
                self._table,
                first,
                past_last - 1,
                f"{key}, pg_catalog.count(*),"
                f" pg_catalog.sum({self._hash(copied=copied)})::pg_catalog.text",
            )
            + f" GROUP BY {key} ORDER BY {key}"
        )
        return [(key, rows, int(checksum)) for key, rows, checksum in found]

    def of_values(
        self, keys: Sequence[int], columns: Sequence[Sequence[str]]
    ) -> list[tuple[int, list[int | None]]]:
        """Return, for each key that is there, a checksum of each of these lists of columns.

        It is None if a value is NULL.
        """
        key, by_name = self._table.key_sql, {each.name: each for each in self._table.columns}
        sums = [self._sum_of([by_name[name] for name in names]) for names in columns]
        found = self._guard.query(
            aggregated(self._table, min(keys), max(keys), ", ".join([key, *sums]), among=keys)
            + f" GROUP BY {key}"
        )
        return [(key, [None if one is None else int(one) for one in sums]) for key, *sums in found]

    def _sum_of(self, columns: Sequence[TableColumn]) -> str:
        are_there = " AND ".join(_is_there(quoted(column.name)) for column in columns)
        hashed_ = self._hash_of(columns)
        return f"pg_catalog.sum(CASE WHEN {are_there} THEN {hashed_} END)::pg_catalog.text"

    def unique_indexes(self) -> list[tuple[str, list[str]]]:
        """Return the name and the columns of each unique index of copied columns, not of the key.

        Those of expressions and of a part of the rows are left out.
        """
        copied = {column.name for column in self._table.columns}
        found = self._guard.query(
            CATALOG_PATH + _UNIQUE.format(oid=self._table.oid, key=self._table.keyed.number)
        )
        return [(name, names) for name, names in found if copied.issuperset(names)]

    def _explained(self, error: psycopg.Error, first: int, past_last: int) -> PostgresError | None:
        """Return an error of a row without the value, of a single id with the column's name."""
        if not is_of_a_row(error.sqlstate) or is_guards(error) or self._session.is_lost():
            return None

        def fails(columns: Sequence[TableColumn]) -> bool:
            value = f"pg_catalog.count({_fast_hash(self._values(columns, fast=True))})"
            try:
                self._guard.query(aggregated(self._table, first, past_last - 1, value))
            except psycopg.Error as again:
                if again.sqlstate != error.sqlstate:
                    raise
                return True
            return False

        column = None
        if past_last - first == 1:
            column = failing_column([*self._table.columns, *self._generated()], fails)
        if column is None:
            return PostgresError(_said(error), error.sqlstate)
        here, there = self._types()
        type_, other = here[column.name], there.get(column.name)
        differs = "" if other in {None, type_} else f", {other} on the other side"
        return PostgresError(
            f'the column "{column.name}" ({type_}{differs}): {_said(error)}', error.sqlstate
        )

    def _hash(self, *, copied: bool = False) -> str:
        """Return SQL for the hash of a row, as a bigint."""
        if copied not in self._known_hashes:
            columns = [*self._table.columns, *([] if copied else self._generated())]
            self._known_hashes[copied] = self._hash_of(columns)
        return self._known_hashes[copied]

    def _hash_of(self, columns: Iterable[TableColumn]) -> str:
        """Return SQL for the hash of these columns' values, as a bigint."""
        values = self._values(sorted(columns, key=lambda each: each.name), fast=self._fast)
        return _fast_hash(values) if self._fast else _sha256(values)

    @cached_property
    def _fast(self) -> bool:
        """Whether both sides have the same fast hash."""
        (own,) = ask(self._session.query_all, ways())
        return _way(own, self._other) != _SHA256

    def _generated(self) -> list[TableColumn]:
        """Return the generated columns that the other side compares too."""
        if self._other is None or version_of(self._other) is None:
            return []
        there = self._other.by_name
        alike = {
            column.name
            for column in self._table.described()
            if column.name in there and column.is_computed_like(there[column.name])
        }
        return [column for column in self._table.generated if column.name in alike]

    def _types(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return each column's type here, and on the other side as far as that is known."""
        here = {c.name: c.type for c in self._table.described()}
        there = {c.name: c.type for c in self._other.columns} if self._other else {}
        return here, there

    def _values(self, columns: Iterable[TableColumn], *, fast: bool) -> list[tuple[str, str]]:
        """Return each column, and its value as the target has it; `fast`: for the fast hash."""
        here, there = self._types()
        values = []
        for column in columns:
            name, source = quoted(column.name), here[column.name]
            target = there.get(column.name, source)
            if self._side == "target":
                source, target = target, source
            if column.expression is None and _base(source) != _base(target):
                value = _as_target(name, source, target, self._side)
            elif column.shape.base.oid == _BYTEA:
                value = _of_bytes(name, fast=fast)
            else:
                value = hashed(column, name)
            values.append((name, value))
        return values


def ways() -> Question[tuple[str, ...]]:
    """Return the ways in which the server can make checksums, the best one first.

    The fast hash depends on the encoding of the text and, by the server's source, on the byte
    order of its machine: the way's name has both. What any server can do takes three times as long.
    """
    ((encoding, probe),) = yield (
        "SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.hashtextextended("
        f"'{_PROBE}' COLLATE pg_catalog.\"C\", {len(_PROBE)})::pg_catalog.text"
    )
    return (f"hash of {encoding}, {probe}", _SHA256)


def _way(own: tuple[str, ...], other: TableDescription | None) -> str:
    """Return the best way that both sides have."""
    if other is None or not other.checksums:
        return own[0]
    return next((way for way in own if way in other.checksums), _SHA256)


def _of_bytes(value: str, *, fast: bool) -> str:
    """Return SQL for a digest of a bytea, which takes a third of the time of its text's."""
    if fast:
        return f"pg_catalog.hash_record_extended(ROW({value}), 0)"
    return f"pg_catalog.encode(pg_catalog.sha256({value}), 'hex')"


def _said(error: psycopg.Error) -> str:
    """Return what the server said, without a value."""
    said = error.diag.message_primary or ""
    if not said or (error.sqlstate or "").startswith(_DATA_EXCEPTION):
        said = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return f"{said} ({error.sqlstate})"


def _fast_hash(values: list[tuple[str, str]]) -> str:
    groups = []
    for begin in range(0, len(values), _NESTED):
        group = "0"
        for name, value in values[begin : begin + _NESTED]:
            # each hash is the seed of the next: where a value ends and the next begins counts
            text = f"CASE WHEN {_is_there(name)} THEN pg_catalog.concat('=', {value}) ELSE '' END"
            group = f'pg_catalog.hashtextextended({text} COLLATE pg_catalog."C", {group})'
        groups.append(group)
    if len(groups) == 1:
        return groups[0]
    text = f"pg_catalog.concat_ws(',', {', '.join(groups)})"
    return f'pg_catalog.hashtextextended({text} COLLATE pg_catalog."C", 0)'


def _sha256(values: list[tuple[str, str]]) -> str:
    row = ", ".join(
        f"CASE WHEN {_is_there(name)} THEN pg_catalog.concat({value}) END" for name, value in values
    )
    digest = f"pg_catalog.sha256(pg_catalog.convert_to(ROW({row})::pg_catalog.text, 'UTF8'))"
    first = f"pg_catalog.encode(pg_catalog.substr({digest}, 1, 8), 'hex')"
    return f"('x' OPERATOR(pg_catalog.||) {first})::bit(64)::bigint"


def _is_there(name: str) -> str:
    """Return SQL for whether there is a value; IS NULL is true for a composite of NULLs as well.

    `IS DISTINCT FROM` the word NULL itself looks up no operator.
    """
    return f"{name} IS DISTINCT FROM NULL"


def _as_target(name: str, source: str, target: str, side: Side | None) -> str:
    """Return a value as it is in the target once it was copied there, of whatever type.

    `concat` makes its text as COPY does, where a cast to text would not for some types.
    """
    source, target = _base(source), _base(target)
    text = f"pg_catalog.concat({name})"
    if target.startswith("character") and not target.startswith("character varying"):
        return f"pg_catalog.rtrim({text}, ' ')"
    if side == "target" or _is_read_as_it_is(target):
        return name
    if target.endswith("[]"):
        return f"{text}::{_qualified(_VARCHAR.sub('character varying', target))}"
    if length := _VARCHAR.fullmatch(target):
        most = int(length[1])
        return (
            f"CASE WHEN pg_catalog.btrim(pg_catalog.substr({text}, {most + 1}), ' ')"
            " OPERATOR(pg_catalog.=) ''"
            f" THEN pg_catalog.left({text}, {most}) ELSE {text} END"
        )
    return f"{text}::{_qualified(target)}"


def _qualified(type_: str) -> str:
    """Return the name of one of the server's own types, for any search path."""
    return type_ if type_.startswith(_KEYWORDS) else f"pg_catalog.{type_}"


def _is_read_as_it_is(type_: str) -> bool:
    """Return whether the text of a value is that which was read as one."""
    if "." in type_ or " (" in type_:  # with a schema, or with what it is made of: a user's
        return True
    if _VARCHAR.match(type_) or type_ == "character varying[]":  # arrays of text are read
        return False
    return type_ in _AS_READ or type_.startswith(_CUT_BY_CASTS)


def _base(type_: str) -> str:
    """Return the type without the domains around it."""
    while domain := _DOMAIN.fullmatch(type_):
        type_ = domain[1]
    return type_
