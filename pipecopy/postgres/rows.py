"""CopyRows: a batch as the bytes of a COPY, decoded only if someone looks."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

from psycopg import DataError, adapters
from psycopg.abc import Buffer
from psycopg.abc import Transformer as AnyTransformer
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.pq import Format
from psycopg.types.string import TextBinaryLoader, TextLoader

from pipecopy.contracts import Row

CopyFormat: TypeAlias = Literal["binary", "text"]
Raw: TypeAlias = bytes | bytearray | memoryview

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEAD = struct.Struct("!ii")  # flags, and the length of an extension
_INT16 = struct.Struct("!h")
_INT32 = struct.Struct("!i")
_INTEGERS = {2: _INT16, 4: _INT32, 8: struct.Struct("!q")}
_JSONB_VERSION = 1  # the byte before the text of a binary jsonb

_INTERVAL = 1186


@dataclass(frozen=True)
class CopyColumn:
    """One column of the rows: its name, and the OID of its type (of a domain's base type)."""

    name: str
    type_oid: int


class CopyRows(Sequence[Row]):
    """Rows in the format of COPY, as they came from the server.

    Values are decoded when a row is looked at: `json` and `jsonb` as their text, in arrays too, so
    that no digit of a number is lost, and an interval with months as its text, since a timedelta
    has none. A value of a type whose binary form psycopg does not know raises ValueError; in the
    text format it is its text. Pickled by protocol 5, the bytes are one out-of-band buffer.
    """

    __slots__ = ("_count", "_offsets", "columns", "format", "key_range", "raw", "unique")

    def __init__(
        self,
        raw: Raw,
        count: int,
        *,
        columns: tuple[CopyColumn, ...],
        format: CopyFormat,  # noqa: A002 - COPY's own word
        key_range: tuple[int, int],
        unique: bool,
    ) -> None:
        self.raw = raw
        self._count = count
        self.columns = columns
        self.format: CopyFormat = format
        self.key_range = key_range
        """The ids `[first, past_last)` that are covered: those asked for, or the first of them."""
        self.unique = unique
        """No key can be there twice."""
        self._offsets: list[tuple[int, int]] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if self._offsets is None:
            self._offsets = list(row_bounds(self.raw, self.format))
        decode = _decoder(self.columns, self.format)
        if isinstance(index, slice):
            return [
                decode(fields_of(self.raw, begin, end, self.format))
                for begin, end in self._offsets[index]
            ]
        return decode(fields_of(self.raw, *self._offsets[index], self.format))

    def __iter__(self) -> Iterator[Row]:
        decode = _decoder(self.columns, self.format)
        for begin, end in row_bounds(self.raw, self.format):
            yield decode(fields_of(self.raw, begin, end, self.format))

    def key_of_row(self, index: int, key: str) -> int:
        """Return the key of one row; `key` is its column."""
        begin, end = list(row_bounds(self.raw, self.format))[index]
        return self.key_in(self.raw, begin, end, key)

    def keys(self, key: str) -> list[int]:
        """Return the keys of all rows; `key` is their column."""
        bounds = row_bounds(self.raw, self.format)
        return [self.key_in(self.raw, begin, end, key) for begin, end in bounds]

    def key_in(self, raw: Raw, begin: int, end: int, key: str) -> int:
        """Return the key of the row of these columns that begins and ends there."""
        names = [column.name for column in self.columns]
        field = fields_of(raw, begin, end, self.format)[names.index(key)]
        if field is None:
            raise ValueError("a row has no key")
        if self.format == "text":
            return int(field)
        (number,) = _INTEGERS[len(field)].unpack(field)
        return int(number)

    def __repr__(self) -> str:
        return f"<CopyRows: {self._count} rows, {len(self.raw)} bytes, {self.format}>"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Hand the bytes over without copying them, if the protocol allows it."""
        raw = pickle.PickleBuffer(self.raw) if protocol >= 5 else bytes(self.raw)  # noqa: PLR2004
        return _rebuild, (raw, self._count, self.columns, self.format, self.key_range, self.unique)


def _rebuild(  # noqa: PLR0917 - pickle hands all on by position
    raw: Any,
    count: int,
    columns: tuple[CopyColumn, ...],
    format: CopyFormat,  # noqa: A002 - as above
    key_range: tuple[int, int],
    unique: bool,  # noqa: FBT001 - as above
) -> CopyRows:
    return CopyRows(raw, count, columns=columns, format=format, key_range=key_range, unique=unique)


def row_bounds(raw: Raw, copy_format: CopyFormat) -> Iterator[tuple[int, int]]:
    """Yield where each row begins and ends, in text with its newline."""
    return _binary_rows(raw) if copy_format == "binary" else _text_rows(raw)


def fields_of(raw: Raw, begin: int, end: int, copy_format: CopyFormat) -> list[bytes | None]:
    """Return the fields of the row that begins and ends there."""
    if copy_format == "binary":
        return _binary_fields(raw, begin)
    return [_unescaped(field) for field in bytes(raw[begin:end]).removesuffix(b"\n").split(b"\t")]


def _binary_rows(raw: Raw) -> Iterator[tuple[int, int]]:
    if not raw:
        return
    if bytes(raw[: len(SIGNATURE)]) != SIGNATURE:
        raise ValueError("these are not the bytes of a binary COPY")
    _, extension = _HEAD.unpack_from(raw, len(SIGNATURE))
    position = len(SIGNATURE) + _HEAD.size + extension
    # one that was cut short has no trailer
    while position < len(raw) and (fields := _INT16.unpack_from(raw, position)[0]) >= 0:
        begin = position
        position += _INT16.size
        for _ in range(fields):
            (length,) = _INT32.unpack_from(raw, position)
            position += _INT32.size + max(0, length)
        yield begin, position


def _binary_fields(raw: Raw, begin: int) -> list[bytes | None]:
    (count,) = _INT16.unpack_from(raw, begin)
    position = begin + _INT16.size
    fields: list[bytes | None] = []
    for _ in range(count):
        (length,) = _INT32.unpack_from(raw, position)
        position += _INT32.size
        if length < 0:
            fields.append(None)
        else:
            fields.append(bytes(raw[position : position + length]))
            position += length
    return fields


def _text_rows(raw: Raw) -> Iterator[tuple[int, int]]:
    text = bytes(raw)
    begin = 0
    while (end := text.find(b"\n", begin)) >= 0:  # a newline in a value is escaped
        yield begin, end + 1
        begin = end + 1


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _unescaped(field: bytes) -> bytes | None:
    if field == rb"\N":
        return None
    if b"\\" not in field:
        return field
    # the server escapes these letters and the backslash alone
    parts = field.split(b"\\")
    text = [parts[0]]
    position = 1
    while position < len(parts):
        part = parts[position]
        if part:
            text.append(_ESCAPES.get(part[:1], part[:1]) + part[1:])
        else:  # a backslash by itself; what follows it is plain
            text.append(b"\\")
            position += 1
            if position < len(parts):
                text.append(parts[position])
        position += 1
    return b"".join(text)


def _decoder(
    columns: tuple[CopyColumn, ...], copy_format: CopyFormat
) -> Callable[[list[bytes | None]], Row]:
    """Return what makes a row of its fields."""
    transformer = Transformer(_ADAPTERS)
    binary = copy_format == "binary"
    loads = [_loader(transformer, column, binary=binary) for column in columns]

    def decode(fields: list[bytes | None]) -> Row:
        return tuple(
            None if field is None else load(field)
            for load, field in zip(loads, fields, strict=True)
        )

    return decode


def _loader(transformer: AnyTransformer, column: CopyColumn, *, binary: bool) -> Any:
    oid = column.type_oid
    format_ = Format.BINARY if binary else Format.TEXT
    if oid == _INTERVAL and not binary:
        return _interval(transformer.get_loader(oid, format_).load)
    if binary and (oid == _INTERVAL or adapters.get_loader(oid, format_) is None):

        def refuse(_: bytes) -> None:
            raise ValueError(
                f"the binary form of the column {column.name!r}, of the type with OID {oid},"
                " is not known: its values can only go to another PostgreSQL"
            )

        return refuse
    return transformer.get_loader(oid, format_).load


def _interval(load: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def load_or_text(field: bytes) -> Any:
        if any(word in field for word in (b"year", b"mon", b"infinity")):
            return field.decode()
        try:
            return load(field)
        except DataError:  # more days than a timedelta can have
            return field.decode()

    return load_or_text


class _JsonbText(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        if data[0] != _JSONB_VERSION:
            raise ValueError(f"jsonb of an unknown version, {data[0]}")
        return bytes(data[1:]).decode()


_ADAPTERS = AdaptersMap(adapters)
# of arrays too, whose elements these load
_ADAPTERS.register_loader("json", TextLoader)
_ADAPTERS.register_loader("json", TextBinaryLoader)
_ADAPTERS.register_loader("jsonb", TextLoader)
_ADAPTERS.register_loader("jsonb", _JsonbText)
