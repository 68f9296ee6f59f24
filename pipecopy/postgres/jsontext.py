"""The JSON that other drivers hand on, as the text that the server reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal, NoReturn, TypeAlias

from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.names import quoted
from pipecopy.postgres.schema import TypeShape
from pipecopy.postgres.sqlstates import INVALID_PARAMETER_VALUE

JsonForm: TypeAlias = Literal["text", "decoded"]
"""What the source's driver makes of JSON: `"abc"` with its quotes, or the string abc."""
Change: TypeAlias = Callable[[Any], Any]
"""Returns a value with JSON text in the place of each JSON value in it; given no None."""

_RANGE = ("lower", "upper", "lower_inc", "upper_inc", "isempty")
"""What the ranges of psycopg, psycopg2, asyncpg and SQLAlchemy have."""
_SURROGATE = re.compile("[\ud800-\udfff]")


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

    def _change_of(self, shape: TypeShape) -> Change | None:
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
            return value if isinstance(value, str) else self._decoded(value)
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
        # a lone one, which json takes, has no UTF-8
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    def _decoded(self, value: Any) -> str:
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:  # its text has a part of the value
            self._refuse(value, "which is not text in UTF-8")

    def _array(self, over: TypeShape, inner: Change) -> Change:
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

    def _composite(self, shape: TypeShape) -> Change | None:
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

    def _range(self, inner: Change) -> Change:
        def changed(value: Any) -> Range[Any]:
            if value.isempty:
                return Range(empty=True)
            return Range(
                None if value.lower is None else inner(value.lower),
                None if value.upper is None else inner(value.upper),
                f"{'[' if value.lower_inc else '('}{']' if value.upper_inc else ')'}",
            )

        return self._container(lambda value: all(hasattr(value, part) for part in _RANGE), changed)

    def _multirange(self, inner: Change) -> Change:
        change = self._range(inner)
        return self._container(
            lambda value: isinstance(value, list | Multirange),
            lambda value: Multirange([change(part) for part in value]),
        )

    def _container(self, fits: Callable[[Any], bool], change: Change) -> Change:
        def changed(value: Any) -> Any:
            if isinstance(value, str | bytes | bytearray | memoryview):
                return value
            if not fits(value):
                self._refuse(value, "which is no value of that type")
            return change(value)

        return changed

    def _refuse(self, value: Any, why: str) -> NoReturn:
        raise PostgresError(
            f"for {self._column} the source's driver gave a value of type {type(value).__name__},"
            f" {why}",
            INVALID_PARAMETER_VALUE,
        ) from None  # what it came from may hold the value


def _no_json(value: Any) -> NoReturn:
    raise TypeError(type(value).__name__)


_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_no_json).encode


def _dumped(value: Any) -> str:
    try:
        return _dump(value)
    except TypeError:
        return _exactly(value)


def _exactly(value: Any) -> str:
    """Write a Decimal with all its digits, which the standard library does not."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)}: {_exactly(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_exactly(item) for item in value)}]"
    if not isinstance(value, Decimal):
        return _dump(value)
    if not value.is_finite():
        raise ValueError
    return str(value)


def _key(key: Any) -> str:
    return _dump(key) if isinstance(key, str) else _no_json(key)
