"""Rows of any driver as the text of a COPY."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from psycopg.adapt import PyFormat, Transformer

from pipecopy.contracts import Row
from pipecopy.postgres.catalog import Table, TableColumn
from pipecopy.postgres.copyrows import CopyColumn, CopyRows
from pipecopy.postgres.refusal import PostgresError
from pipecopy.postgres.sqlstates import INVALID_PARAMETER_VALUE, UNIQUE_VIOLATION

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


def copy_rows(rows: Sequence[Row], table: Table) -> CopyRows:
    """Return the rows, whose values are in the order of the table's columns, ready to be sent.

    In a `json` or `jsonb` column a str is JSON text, and anything but None is what `json.dumps`
    makes of it; None is NULL. Raises PostgresError for a row of the wrong length, a key that is
    NULL, no integer or there twice; psycopg.ProgrammingError for a value of a type that it does
    not know.
    """
    columns = table.columns
    key_at = columns.index(table.keyed)
    encoders = [_encoder(column) for column in columns]
    keys: list[int] = []
    text = bytearray()
    for row in rows:
        if len(row) != len(columns):
            raise PostgresError(
                f"a row has {len(row)} values, but the table {table.sql} has {len(columns)}"
                f" columns ({', '.join(column.name for column in columns)})",
                INVALID_PARAMETER_VALUE,
            )
        keys.append(_key(row[key_at]))
        fields = [
            rb"\N" if value is None else encode(value)
            for encode, value in zip(encoders, row, strict=True)
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


def _encoder(column: TableColumn) -> Callable[[Any], bytes]:
    transformer = Transformer()

    def encode(value: Any) -> bytes:
        kind = type(value)
        if kind is str:
            return _escaped(value.encode())
        if column.is_json:
            return _escaped(_json(value))
        if kind is int:
            return b"%d" % value
        if isinstance(value, bytes | bytearray | memoryview) and column.type_oid != _BYTEA:
            return _escaped(bytes(value))  # text, as some drivers hand it on
        dumped = transformer.get_dumper(value, PyFormat.TEXT).dump(value)
        return rb"\N" if dumped is None else _escaped(bytes(dumped))

    return encode


def _json(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False).encode()


def _escaped(field: bytes) -> bytes:
    if _SPECIAL.search(field) is None:
        return field
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], field)
