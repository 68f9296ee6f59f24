"""Values that two versions of the server write or read differently, and what is done about them.

What a COPY or a checksum meets from 14 to 18, by the release notes, the sources, and 14, 15, 16 and 18
side by side (each sample, each byte within quotes, the extremes); the settings of a session see to
the rest (session_start.py). Of the binary forms the interval's alone changed, so the rows go as binary
wherever they can; the source refuses by name what would be taken for another value.

| type | what changed | so |
| --- | --- | --- |
| interval, and what holds one | since 17 the greatest and the least are infinite, and the text of the greatest is read as infinity | refused if one side alone is older |
| "char", and what holds one | since 15 a byte above 127 is written, and read, as an octal escape; before as it is, which is not text in UTF-8 | refused in the text format if a side is older; checksums are of the binary form |
| jsonpath | before 15 `(1).type()` is written `1.type()`, which later ones do not read, and `(-1.5).abs()` is written as what is `-(1.5).abs()` to all; 17 has new methods | refused if the number is negative, else the target's error; to `verify`, such a path of 14 differs |
| tsvector | before 15 array_to_tsvector made empty lexemes, which have no text that is read | binary, or the target's error |
| aclitem | 15 and 17 have new rights | the target's error |
| ltree | since 16 with hyphens, and longer labels | the target's error |
| interval of more than 2^31 hours | before 15 it has no text | binary; `verify` lists the id as not comparable |
| integers, numeric, oid, xid, cid | since 16 more is read (0x1F, 1_000), and less (no words as xid) | never written; see casts.py |
| dates and times | 16 and 17 refuse odd spellings and read `+infinity`; 18 looks up zones' abbreviations elsewhere | never written |
| arrays, composites, ranges, hstore | 17 splits their input anew; the output has the same quotes for every byte | as it is |
| all others | nothing | as they are |
"""  # noqa: E501 - a table

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors

from pipecopy.contracts import Side, TableDescription
from pipecopy.postgres.casts import differing
from pipecopy.postgres.errors import INVALID_PARAMETER_VALUE, PostgresError
from pipecopy.postgres.names import literal, quoted
from pipecopy.postgres.schema import SERVER
from pipecopy.postgres.session import ServerSession
from pipecopy.postgres.table import OddValues, Table, TableColumn
from pipecopy.postgres.types import TypeShape

_INTERVAL = "interval"
_CHAR = '"char"'
_JSONPATH = "jsonpath"
_INFINITE_SINCE = 17
_OCTAL_SINCE = 15
_BRACKETS_SINCE = 15

_SQL = {
    # the same bytes are the extremes of the older servers, and infinity to the newer ones
    _INTERVAL: r"pg_catalog.interval_send({value}) OPERATOR(pg_catalog.=) ANY (ARRAY["
    r"'\x7fffffffffffffff7fffffff7fffffff', '\x80000000000000008000000080000000'"
    r"]::pg_catalog.bytea[])",
    _CHAR: "pg_catalog.int4({value}) OPERATOR(pg_catalog.<) 0",
    _JSONPATH: r"({value})::pg_catalog.text OPERATOR(pg_catalog.~)"
    r" '-[0-9]+(\.[0-9]+)?(\.[^0-9]|\[|\?)'",
}
"""Which values of a type are refused."""
_REFUSED = "pipecopy refuses: "
"""Begins what such SQL says; it ends with the last full stop."""
_REFUSAL = re.compile(rf"{_REFUSED}(.*)\.", re.DOTALL)


def server_of(session: ServerSession) -> tuple[str, int]:
    """Return what a description says of the server: its kind, and its major version."""
    return SERVER, session.facts.version // 10_000


def version_of(other: Any) -> int | None:
    """Return the other side's major version; None if another driver described it, or nobody."""
    if isinstance(other, TableDescription) and other.server is not None:
        kind, version = other.server
        return int(version) if kind == SERVER else None
    return None


def for_other(session: ServerSession, table: Table, other: Any, *, side: Side | None) -> Table:
    """Return the table as it is read for the other side: in which format, and what is refused."""
    there = version_of(other)
    as_text = bool(differing(table, other)) or (
        # of an unknown server; and a driver of another database reads no binary interval
        there is None and any(_INTERVAL in column.shape.versioned for column in table.columns)
    )
    encodings = {session.encoding, None if there is None else other.encoding}
    table = replace(table, as_text=as_text, as_bytes=encodings == {"SQL_ASCII"})
    if there is None or side != "source":
        return table
    _, here = server_of(session)
    odd = _odd_values(here, there, as_binary=table.portable)
    types = {column.name: column.type for column in other.columns}

    def with_odd_values(column: TableColumn) -> TableColumn:
        read_as = types.get(column.name, "")
        held = {t: odd[t] for t in column.shape.versioned if t in odd and t in (read_as or t)}
        return replace(column, odd=_refused(table, column, held)) if held else column

    return replace(table, columns=tuple(map(with_odd_values, table.columns)))


def _odd_values(here: int, there: int, *, as_binary: bool) -> dict[str, tuple[str, str]]:
    """Return, by type, which values the two sides would not take for the same, and why."""
    odd = {}
    older, newer = min(here, there), max(here, there)
    if older < _INFINITE_SINCE <= newer:
        odd[_INTERVAL] = (
            ("an infinite interval", f"which PostgreSQL {there} does not have")
            if there == older
            else ("the longest interval", f"which is infinite to PostgreSQL {there}")
        )
    if older < _OCTAL_SINCE and not as_binary:
        odd[_CHAR] = (
            'a "char" that is not an ASCII character',
            f"as whose text PostgreSQL {older} reads and writes another one than later versions do",
        )
    if here < _BRACKETS_SINCE:  # its binary form is its text
        odd[_JSONPATH] = (
            "a jsonpath with a method of a negative number",
            f"which PostgreSQL {here} writes as the negative of the method's result",
        )
    return odd


def _refused(table: Table, column: TableColumn, held: Mapping[str, tuple[str, str]]) -> OddValues:
    """Return SQL that is the column, but raises at the values that are not to be sent.

    SQL has no `raise` outside of a function: a cast of the text does it, and the error quotes it.
    """
    name = quoted(column.name)
    cases = []
    for type_, (what, why) in held.items():
        condition = _holding(column.shape, name, type_)
        message = f"{_REFUSED}the column {name} has {what}, {why}, in the row with the id "
        said = f"pg_catalog.concat({literal(message)}, {table.key_sql}, '.')"
        cases.append(f"WHEN {condition} THEN {said}::pg_catalog.bool")
    return OddValues(
        sql=f"CASE WHEN CASE {' '.join(cases)} END THEN NULL ELSE {name} END",
        what=", or ".join(f"{what} in {name}, {why}" for what, why in held.values()),
    )


def _holding(shape: TypeShape, value: str, type_: str, depth: int = 0) -> str:
    """Return the condition that a value is, or holds, one of the type's that is refused."""
    if shape.kind == "b":
        return _SQL[type_].format(value=value) if shape.name == type_ else "false"
    if shape.kind == "c":
        parts = [
            _holding(inner, f"({value}).{quoted(name)}", type_, depth)
            for name, inner in shape.attributes
        ]
        return f"({' OR '.join(part for part in parts if part != 'false') or 'false'})"
    if shape.over is None:
        return "false"
    if shape.kind in "rm":
        ends = f"pipecopy_{depth}" if shape.kind == "m" else value
        lower, upper = (
            _holding(shape.over, f"pg_catalog.{end}({ends})", type_, depth + 1)
            for end in ("lower", "upper")
        )
        condition = f"({lower} OR {upper})"
    else:
        inner = f"pipecopy_{depth}" if shape.kind == "a" else value
        condition = _holding(shape.over, inner, type_, depth + 1)
    if shape.kind not in "am":
        return condition
    return f"EXISTS (SELECT FROM pg_catalog.unnest({value}) AS pipecopy_{depth} WHERE {condition})"


def is_refusal(error: psycopg.Error) -> bool:
    """Return whether it is what such SQL said."""
    said = _REFUSAL.search(error.diag.message_primary or "")
    return isinstance(error, errors.InvalidTextRepresentation) and said is not None


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Raise what such SQL said as a refusal of this driver's."""
    try:
        yield
    except errors.InvalidTextRepresentation as error:
        said = _REFUSAL.search(error.diag.message_primary or "")
        if said is None:
            raise
        raise PostgresError(
            said[1],
            INVALID_PARAMETER_VALUE,
            "change the value there, or leave the column out (`exclude`)",
        ) from error


def hashed(column: TableColumn, value: str) -> str:
    """Return SQL for what a checksum is made of, if both sides have the column's very type.

    It is the text, but for what has another one on other versions, whose binary form it is; of an
    interval that is the same if the value is not; what is not portable has no binary form for it.
    """
    shape = column.shape
    if shape.versioned != (_CHAR,) or not shape.portable:
        return value
    return f"pg_catalog.encode(pg_catalog.{quoted(shape.base.send)}({value}), 'hex')"
