"""Rows of any driver as the text of a COPY."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from psycopg.adapt import PyFormat, Transformer

from pipecopy.contracts import Row
from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.jsontext import JsonColumn, JsonForm
from pipecopy.postgres.rows import CopyColumn, CopyRows
from pipecopy.postgres.sqlstates import INVALID_PARAMETER_VALUE, UNIQUE_VIOLATION
from pipecopy.postgres.table import Table, TableColumn

_SPECIAL = re.compile(rb"[\\\b\t\n\v\f\r]")
_ESCAPED = {
    b"\\": rb"\\",
    b"\b": rb"\b",
    b"\t": rb"\t",
    b"\n": rb"\n",
    b"\v": rb"\v",
    b"\f": rb"\f",
    b"\r": rb"\r",
}
_BYTEA = 17


class RowText:
    """Makes a COPY of rows, for one table."""

    def __init__(self, table: Table, json: JsonForm | None) -> None:
        self._table = table
        self._encoders = [
            _encoder(column, JsonColumn(column.name, column.shape, json))
            for column in table.columns
        ]

    def copy_rows(self, rows: Sequence[Row]) -> CopyRows:
        """Return the rows, whose values are in the order of the table's columns, ready to be sent.

        None is NULL. Raises PostgresError for a row of the wrong length, a key that is NULL, no
        integer or there twice, and what may not be the JSON of the source;
        psycopg.ProgrammingError for a value of a type that it does not know.
        """
        columns = self._table.columns
        key_at = columns.index(self._table.keyed)
        keys: list[int] = []
        text = bytearray()
        for row in rows:
            if len(row) != len(columns):
                raise PostgresError(
                    f"a row has {len(row)} values, but the table {self._table.sql} has"
                    f" {len(columns)} columns ({', '.join(column.name for column in columns)})",
                    INVALID_PARAMETER_VALUE,
                )
            keys.append(_key(row[key_at]))
            fields = [
                rb"\N" if value is None else encode(value)
                for encode, value in zip(self._encoders, row, strict=True)
            ]
            text += b"\t".join(fields) + b"\n"
        if len(set(keys)) != len(keys):
            raise PostgresError("two rows of the batch have the same key", UNIQUE_VIOLATION)
        return CopyRows(
            text,
            len(rows),
            columns=tuple(CopyColumn(column.name, column.type_oid) for column in columns),
            format="text",
            key_range=(min(keys), max(keys) + 1),
            unique=True,
        )


def _key(value: Any) -> int:
    try:
        key = int(value)
    except (TypeError, ValueError):
        key = None
    if key is None or (key != value and not isinstance(value, str)):
        raise PostgresError("a row's key is no integer", INVALID_PARAMETER_VALUE)
    return key


def _encoder(column: TableColumn, json: JsonColumn) -> Callable[[Any], bytes]:
    transformer = Transformer()
    with_json = json.change

    def encode(value: Any) -> bytes:
        if with_json is not None:
            value = with_json(value)
        kind = type(value)
        if kind is str:
            return _escaped(value.encode())
        if kind is int:
            return b"%d" % value
        if isinstance(value, bytes | bytearray | memoryview) and column.type_oid != _BYTEA:
            return _escaped(bytes(value))  # text, as some drivers hand it on
        dumped = transformer.get_dumper(value, PyFormat.TEXT).dump(value)
        return rb"\N" if dumped is None else _escaped(bytes(dumped))

    return encode


def _escaped(field: bytes) -> bytes:
    if _SPECIAL.search(field) is None:
        return field
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], field)
