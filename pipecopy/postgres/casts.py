"""What becomes of a value whose text the input function of another type reads.

A batch of types that differ goes as text, so what counts is not whether the server has a cast:
bigint casts to bit by its binary digits, and would be read there as if its decimal ones were bits.
Each pair that is allowed here either gives the same value or raises an error; what may change a
value without one has a loss, which says how.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipecopy.contracts import Column, TableDescription
from pipecopy.finding import Finding, leaving_out, problem, warning
from pipecopy.postgres.schema import source_types
from pipecopy.postgres.table import Table
from pipecopy.postgres.types import INTEGERS, TypeShape

_FLOATS = ("real", "double precision")
_NUMBERS = (*INTEGERS, *_FLOATS, "numeric")
_UNSIGNED = ("oid", "xid", "xid8", "cid")
_BYTE = '"char"'
_LENGTHS = ("character varying", "character")
_HEADER = 4
"""What the modifier of a length or a numeric has added to it."""
_MOST_DIGITS_OF_SECONDS = 6

_UTC = "UTC is assumed"
_WORDS = "and words such as now become the time of the copy"
_AS_WRITTEN = f"the target's DateStyle says which number is the day, {_WORDS}"
_NO_DATE = "its date is cut off"
_NO_TIME = "its time of day is cut off"
_NO_ZONE = "its time zone is cut off"
_KEYS_OF_JSON = "the order of its keys, and all but the last of equal ones, are lost"
_NEGATIVE = "negative values become positive"
_CENTS = "more than two digits after the point are rounded"
_PAIRS = {
    ("date", "timestamp without time zone"): (),
    ("date", "timestamp with time zone"): (_UTC,),
    ("timestamp without time zone", "timestamp with time zone"): (_UTC,),
    ("timestamp with time zone", "timestamp without time zone"): (_UTC,),
    ("timestamp without time zone", "date"): (_NO_TIME,),
    ("timestamp with time zone", "date"): (_NO_TIME, _UTC),
    ("timestamp without time zone", "time without time zone"): (_NO_DATE,),
    ("timestamp with time zone", "time without time zone"): (_NO_DATE, _UTC),
    ("timestamp with time zone", "time with time zone"): (_NO_DATE, _UTC),
    ("time without time zone", "time with time zone"): (_UTC,),
    ("time with time zone", "time without time zone"): (_NO_ZONE,),
    ("time without time zone", "interval"): (),
    ("cidr", "inet"): (),
    ("inet", "cidr"): (),
    ("macaddr", "macaddr8"): (),
    ("bit", "bit varying"): (),
    ("bit varying", "bit"): (),
    ("json", "jsonb"): (_KEYS_OF_JSON,),
    ("jsonb", "json"): (),
}
"""Types of the server's own that are read, each with what is lost."""
_NUMBERS_READ = {
    **dict.fromkeys(INTEGERS, (*_NUMBERS, *_UNSIGNED, "jsonb")),
    "numeric": (*_NUMBERS, *_UNSIGNED, "jsonb"),
    **dict.fromkeys(_FLOATS, (*_NUMBERS, "jsonb")),
    "money": _NUMBERS,
    "boolean": INTEGERS,
    "oid": (*INTEGERS, "oid", "xid", "cid"),
    "xid8": (*INTEGERS, *_UNSIGNED),
}
"""What is read as a number of that type; also what is not a number in the server's eyes."""
_WHOLE_IN_FLOATS = {
    "smallint": _FLOATS,
    "integer": ("double precision",),
    "real": ("double precision",),
}
_READ_FROM_TEXT = {
    "date": f"a time of day in the text is cut off, {_AS_WRITTEN}",
    "time without time zone": f"a date and a time zone in the text are cut off, {_WORDS}",
    "time with time zone": f"a date in the text is cut off, {_WORDS}",
    "timestamp without time zone": f"a time zone in the text is cut off, {_AS_WRITTEN}",
    "timestamp with time zone": f"{_UTC} if the text has no time zone, {_AS_WRITTEN}",
    "interval": "units that are written in another way change",
    "money": _CENTS,
    "jsonb": _KEYS_OF_JSON,
    "tsvector": "its words become lexemes, sorted and each only once",
    "tsquery": "its words become lexemes",
    "bytea": "backslashes in the text are read as bytea's escapes",
    "real": "its digits are rounded",
    "double precision": "its digits are rounded",
    # before 16 the server read any text as these
    "xid": "what is not a number of 32 bits changes",
    "cid": "what is not a number of 32 bits changes",
    "xid8": "what is not a number of 64 bits changes",
    "oid": _NEGATIVE,
}
"""What may be lost if any text is read as such a type."""


@dataclass(frozen=True)
class Conversion:
    """Whether a type's text can be read as another type, and what may be lost without an error."""

    works: bool
    losses: tuple[str, ...] = ()


_REFUSED = Conversion(works=False)
EXACT = Conversion(works=True)


def _losing(*losses: str) -> Conversion:
    return Conversion(works=True, losses=losses)


def conversion(source: TypeShape, target: TypeShape) -> Conversion:
    """Say what becomes of a value of the source's type in a column of the target's."""
    source, target = source.base, target.base  # a domain's check raises an error
    if _same(source, target):
        return EXACT
    if _is_text(target):
        return _to_text(source, target)
    if _is_text(source):
        return _from_text(source, target)
    between = _BETWEEN.get(source.kind)
    if source.kind != target.kind or between is None:
        return _REFUSED
    return between(source, target)


def _same(source: TypeShape, target: TypeShape) -> bool:
    """Return whether it is one type, for those of users by what it is made of."""
    if source.kind != target.kind or source.own != target.own:
        return False
    if source.kind == "b":
        return _same_name(source, target) and source.modifier == target.modifier
    if not source.own and source.name != target.name:
        return False
    if (source.over is None) != (target.over is None):
        return False
    if source.over and target.over and not _same(source.over.base, target.over.base):
        return False
    return (
        source.modifier == target.modifier
        and source.labels == target.labels
        and [name for name, _ in source.attributes] == [name for name, _ in target.attributes]
        and all(
            _same(one.base, other.base)
            for (_, one), (_, other) in zip(source.attributes, target.attributes, strict=True)
        )
    )


def _same_name(source: TypeShape, target: TypeShape) -> bool:
    """Return whether the types are called the same; an extension's are, in whatever schema."""
    if source.own and target.own:
        return source.name.rpartition(".")[2] == target.name.rpartition(".")[2]
    return source.name == target.name


def _is_text(type_: TypeShape) -> bool:
    return type_.kind == "b" and (type_.category == "S" or type_.name == _BYTE)


def _length(type_: TypeShape) -> int | None:
    """Return how many characters its values have at most."""
    if type_.name in _LENGTHS and type_.modifier >= _HEADER:
        return type_.modifier - _HEADER
    return None


def _to_text(source: TypeShape, target: TypeShape) -> Conversion:
    """Any value has a text; the types of a limited length cut some things without an error."""
    if target.name == _BYTE:
        return _losing("all but its first byte is cut off") if _is_text(source) else _REFUSED
    if target.name == "name":
        return _losing("what is longer than 63 bytes is cut off")
    padded = source.name == "character" and source.modifier >= _HEADER
    losses = []
    if padded and target.name != "character":
        losses.append("the blanks that pad it become a part of the value")
    most = _length(target)
    if most is not None and target.name == "character" and not padded:
        losses.append("it is padded with blanks")
    elif most is not None and target.name != "character" and _may_end_with_blanks(source):
        at_most = _length(source)
        if at_most is None or at_most > most:
            losses.append(f"blanks at the end, beyond {most} characters, are cut off")
    return Conversion(works=True, losses=tuple(losses))


def _may_end_with_blanks(source: TypeShape) -> bool:
    return _is_text(source) or source.kind == "e" or source.name == "json"


def _from_text(source: TypeShape, target: TypeShape) -> Conversion:
    """Any text may be read as any type, or raises an error."""
    if target.kind == "a" and target.over is not None:
        return conversion(source, target.over)
    if target.kind in "crm":
        return _losing(
            "its parts are cut, rounded or padded to what those of the target's type are"
        )
    losses = [_READ_FROM_TEXT[target.name]] if target.name in _READ_FROM_TEXT else []
    return Conversion(works=True, losses=(*losses, *_modified(None, target)))


def _between_arrays(source: TypeShape, target: TypeShape) -> Conversion:
    if not source.over or not target.over or source.over.delimiter != target.over.delimiter:
        return _REFUSED
    return conversion(source.over, target.over)


def _between_enums(source: TypeShape, target: TypeShape) -> Conversion:
    return EXACT if set(source.labels) <= set(target.labels) else _REFUSED


def _between_base_types(source: TypeShape, target: TypeShape) -> Conversion:
    if _same_name(source, target):
        return _losing(*_modified(source, target))
    if source.own or target.own:
        return _REFUSED
    if (source.name, target.name) in _PAIRS:
        return _losing(*_PAIRS[source.name, target.name], *_modified(source, target))
    if target.name.startswith("reg"):  # an object by its number
        return EXACT if source.name in {*INTEGERS, "oid"} else _REFUSED
    if source.name in _NUMBERS_READ.get(target.name, ()):
        return _losing(*_of_number(source, target))
    return _REFUSED


_BETWEEN = {"a": _between_arrays, "e": _between_enums, "b": _between_base_types}
"""How types of one kind are judged; of the other kinds only equal ones are read."""


def _of_number(source: TypeShape, target: TypeShape) -> tuple[str, ...]:
    """Return what may be lost of a number."""
    if target.name in _FLOATS and target.name not in _WHOLE_IN_FLOATS.get(source.name, ()):
        return ("its digits are rounded",)
    if target.name == "money" and source.name not in INTEGERS:
        return (_CENTS,)
    if target.name in _UNSIGNED and source.name in INTEGERS:
        return (_NEGATIVE,)
    return _modified(source, target)


def _modified(source: TypeShape | None, target: TypeShape) -> tuple[str, ...]:
    """Return what the target's modifier may change; None is a source that may be anything."""
    if target.modifier < 0 or (source is not None and _within(source, target)):
        return ()
    if target.name == "numeric":
        scale = _scale(target.modifier)
        return (
            f"more than {scale} digits after the point are rounded"
            if scale >= 0
            else f"the last {-scale} digits before the point are rounded",
        )
    if target.name.startswith(("timestamp", "time ")):
        return (f"more than {target.modifier} digits of its seconds are rounded",)
    if target.name in {"bit", "bit varying"}:
        return ()  # of any other length it is an error
    if target.name == "interval":
        return ("its fields or the digits of its seconds are cut down to those of the target",)
    return (f"what the target's {target.text} can't hold may change",)


def _within(source: TypeShape, target: TypeShape) -> bool:
    """Return whether each value of the source's type is as precise as the target's can be."""
    if target.name == "numeric":
        if source.name in INTEGERS or source.name in _UNSIGNED:
            return _scale(target.modifier) >= 0
        return (
            source.name == "numeric"
            and source.modifier >= 0
            and _scale(source.modifier) <= _scale(target.modifier)
        )
    if target.name.startswith(("timestamp", "time ")):
        if source.name == "date":
            return True
        digits = source.modifier if source.modifier >= 0 else _MOST_DIGITS_OF_SECONDS
        return digits <= target.modifier
    return False


def _scale(modifier: int) -> int:
    """Return how many digits after the point a numeric has, as the server's numeric.c does."""
    return (((modifier - _HEADER) & 0x7FF) ^ 0x400) - 0x400


def differing(table: Table, other: Any) -> tuple[tuple[Column, Column], ...]:
    """Return the columns whose type is another one in the other side's table, and those there."""
    there = other.by_name if isinstance(other, TableDescription) else {}
    return tuple(
        (column, there[column.name])
        for column in table.described()
        if column.name in there and not column.agrees(there[column.name])
    )


def judge(table: Table, source: Any) -> Iterator[Finding]:
    """Judge, on the target, each column whose type differs from the source's."""
    of_source = source_types(source)
    here = {column.name: column.shape for column in table.columns}
    for column, there in differing(table, source):
        message = f'column "{column.name}" is {there} in the source and {column} in the target'
        computed = column.generated is not None or there.generated is not None
        if computed or column.name not in of_source:
            # of another driver, which says no more
            yield problem(message, leaving_out(column.name), what="columns")
            continue
        found = conversion(of_source[column.name], here[column.name])
        if not found.works:
            yield problem(
                f"{message}, as which it can't be read",
                f"change one of the two types, or {leaving_out(column.name)}",
                what="columns",
            )
        elif found.losses:
            yield warning(f"{message}: {', and '.join(found.losses)}", what="columns")
