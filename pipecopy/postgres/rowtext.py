"""Rows of any driver as the text of a COPY; JSON, which drivers hand on in several forms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal, NoReturn, TypeAlias

from psycopg.adapt import PyFormat, Transformer
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pipecopy.contracts import Row
from pipecopy.postgres.errors import INVALID_PARAMETER_VALUE, UNIQUE_VIOLATION, PostgresError
from pipecopy.postgres.names import quoted
from pipecopy.postgres.rows import CopyColumn, CopyRows
from pipecopy.postgres.table import Table, TableColumn
from pipecopy.postgres.types import TypeShape

JsonForm: TypeAlias = Literal["text", "decoded"]
"""What the source's driver makes of JSON: `"abc"` with its quotes, or the string abc."""
_Change: TypeAlias = Callable[[Any], Any]
"""Returns a value with JSON text in the place of each JSON value in it; given no None."""

_RANGE = ("lower", "upper", "lower_inc", "upper_inc", "isempty")
"""What the ranges of psycopg, psycopg2, asyncpg and SQLAlchemy have."""
_SURROGATE = re.compile("[\ud800-\udfff]")
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

    def __init__(self, table: Table, json_form: JsonForm | None) -> None:
        self._table = table
        self._encoders = [
            _encoder(column, JsonColumn(column.name, column.shape, json_form))
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
        raise PostgresError("a row's key is not an integer", INVALID_PARAMETER_VALUE)
    return key


def _encoder(column: TableColumn, json_column: JsonColumn) -> Callable[[Any], bytes]:
    transformer = Transformer()
    with_json = json_column.change

    def encode(value: Any) -> bytes:
        try:
            return encoded(value)
        except UnicodeEncodeError:  # its text has a part of the value
            raise PostgresError(
                f"a value for the column {quoted(column.name)} has a lone surrogate, which has no"
                " UTF-8: the source's driver decoded it from another encoding",
                INVALID_PARAMETER_VALUE,
            ) from None

    def encoded(value: Any) -> bytes:
        if with_json is not None:
            value = with_json(value)
        kind = type(value)
        if kind is str:
            return _escaped(value.encode())
        if kind is int:
            return _digits(value).encode()
        if isinstance(value, bytes | bytearray | memoryview) and column.type_oid != _BYTEA:
            return _escaped(bytes(value))  # text, as some drivers hand it on
        dumped = transformer.get_dumper(value, PyFormat.TEXT).dump(value)
        return rb"\N" if dumped is None else _escaped(bytes(dumped))

    return encode


def _escaped(field: bytes) -> bytes:
    if _SPECIAL.search(field) is None:
        return field
    return _SPECIAL.sub(lambda match: _ESCAPED[match[0]], field)


class JsonColumn:
    """Finds the JSON in the values of one column: alone, or within other types.

    A str or bytes for an array, a composite or a range is that type's text, whose JSON is text in
    any case. Within a list, a tuple or a range object the JSON is as the driver gives it.
    """

    def __init__(self, name: str, shape: TypeShape, form: JsonForm | None) -> None:
        self._column = f"the column {quoted(name)} ({shape.text})"
        self._form = form
        self.change = self._change_of(shape)
        """None for a type that holds no JSON."""

    def _change_of(self, shape: TypeShape) -> _Change | None:
        if shape.name in {"json", "jsonb"}:
            return self._text
        if shape.kind == "c":
            return self._composite(shape)
        inner = None if shape.over is None else self._change_of(shape.over)
        if inner is None or shape.over is None or shape.kind == "d":
            return inner
        if shape.kind == "a":
            return self._array(shape.over, inner)
        return self._range(inner) if shape.kind == "r" else self._multirange(inner)

    def _text(self, value: Any) -> str:
        """Return one JSON value as text."""
        is_text = isinstance(value, str | bytes | bytearray | memoryview)
        if self._form == "text":
            if not is_text:
                self._refuse(
                    value,
                    'which is not JSON text, as PostgresPool(json="text") says it is: have the'
                    ' driver give the column as text, or set json="decoded" if it decodes JSON',
                )
            return _escaped_surrogates(value if isinstance(value, str) else self._decoded(value))
        if self._form is None and is_text:
            self._refuse(
                value,
                "which may be JSON text or a string decoded from JSON: create the target's pool"
                ' with PostgresPool(json="text") or PostgresPool(json="decoded")',
            )
        try:
            text = _dumped(value)
        except TypeError as error:
            self._refuse(value, f"in which JSON has no place for a {error}")
        except ValueError:  # its text has the number
            self._refuse(
                value,
                "with a number that JSON does not have: NaN or infinite, as which a decoded number"
                " beyond a double comes too; have the driver give the column as text",
            )
        return _escaped_surrogates(text)

    def _decoded(self, value: Any) -> str:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:  # its text has a part of the value
            self._refuse(value, "which is not text in UTF-8")

    def _array(self, over: TypeShape, inner: _Change) -> _Change:
        while over.kind == "d" and over.over is not None:
            over = over.over
        is_ambiguous = over.name in {"json", "jsonb"} and self._form != "text"

        def element(value: Any) -> Any:
            if not isinstance(value, list):
                return None if value is None else inner(value)
            if is_ambiguous:
                self._refuse(
                    value,
                    "within the array's own, which may be a JSON array or another dimension: have"
                    " the driver give the column as text",
                )
            return [element(part) for part in value]

        return self._container(
            lambda value: isinstance(value, list), lambda value: [element(part) for part in value]
        )

    def _composite(self, shape: TypeShape) -> _Change | None:
        changes = [self._change_of(type_) for _, type_ in shape.attributes]
        if not any(changes):
            return None
        return self._container(
            lambda value: isinstance(value, tuple) and len(value) == len(changes),
            lambda value: tuple(
                change(part) if change is not None and part is not None else part
                for change, part in zip(changes, value, strict=True)
            ),
        )

    def _range(self, inner: _Change) -> _Change:
        def changed(value: Any) -> Range[Any]:
            if value.isempty:
                return Range(empty=True)
            return Range(
                None if value.lower is None else inner(value.lower),
                None if value.upper is None else inner(value.upper),
                f"{'[' if value.lower_inc else '('}{']' if value.upper_inc else ')'}",
            )

        return self._container(lambda value: all(hasattr(value, part) for part in _RANGE), changed)

    def _multirange(self, inner: _Change) -> _Change:
        change = self._range(inner)
        return self._container(
            lambda value: isinstance(value, list | Multirange),
            lambda value: Multirange([change(part) for part in value]),
        )

    def _container(self, fits: Callable[[Any], bool], change: _Change) -> _Change:
        def changed(value: Any) -> Any:
            if isinstance(value, str | bytes | bytearray | memoryview):
                return value
            if not fits(value):
                self._refuse(value, "which is not a value of that type")
            return change(value)

        return changed

    def _refuse(self, value: Any, why: str) -> NoReturn:
        raise PostgresError(
            f"for {self._column} the source's driver gave a value of type {type(value).__name__},"
            f" {why}",
            INVALID_PARAMETER_VALUE,
        ) from None  # what it came from may hold the value


def _escaped_surrogates(text: str) -> str:
    """Return JSON with each lone surrogate, which has no UTF-8, as `json` takes it."""
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more digits than Python writes
        return f"{Decimal(value):f}"


def _no_json(value: Any) -> NoReturn:
    raise TypeError(type(value).__name__)


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_no_json).encode


def _dumped(value: Any) -> str:
    try:
        return _dump(value)
    except (TypeError, ValueError):
        return _exactly(value)


def _exactly(value: Any) -> str:
    """Write a Decimal or an int with all its digits, which the standard library does not."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_name(key)}: {_exactly(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_exactly(item) for item in value)}]"
    if type(value) is int:
        return _digits(value)
    if not isinstance(value, Decimal):
        return _dump(value)
    if not value.is_finite():
        raise ValueError
    return str(value)


def _name(key: Any) -> str:
    return _dump(key) if isinstance(key, str) else _no_json(key)
