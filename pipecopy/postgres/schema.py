"""TypeShape: what a type is made of, as a value that can be compared across servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipecopy.postgres.connection import Line
from pipecopy.postgres.table import ask_catalogs

_UNKNOWN = 0


@dataclass(frozen=True, kw_only=True)
class TypeShape:
    """A type with all that it is made of."""

    text: str
    """As SQL writes it with its modifier, such as `numeric(10,2)`; qualified where need be."""
    name: str
    """The same without the modifier."""
    kind: str
    """pg_type.typtype: b, d (domain), e (enum), c (composite), r (range), m (multirange); and a
    for an array."""
    category: str
    """pg_type.typcategory, such as S for text."""
    modifier: int
    """-1 for none."""
    delimiter: str
    """Between an array's elements."""
    own: bool
    """It is not among those that every server has from the start."""
    labels: tuple[str, ...] = ()
    """An enum's."""
    over: TypeShape | None = None
    """A domain's base type, an array's elements, what a range is over."""
    attributes: tuple[tuple[str, TypeShape], ...] = ()
    """A composite's."""


def find_shapes(line: Line, table_oid: int) -> dict[str, TypeShape]:
    """Return the types of the table's columns by name, in one round trip."""
    ((types, columns),) = ask_catalogs(line, _TYPES.replace("{oid}", str(table_oid)))
    return {
        name: _shape(types or {}, oid, modifier, text)
        for name, oid, modifier, text in columns or []
    }


def shape_from_plain(plain: Mapping[str, Any]) -> TypeShape:
    """Return what `dataclasses.asdict` made plain values of."""
    over = plain["over"]
    return TypeShape(
        text=plain["text"],
        name=plain["name"],
        kind=plain["kind"],
        category=plain["category"],
        modifier=plain["modifier"],
        delimiter=plain["delimiter"],
        own=plain["own"],
        labels=tuple(plain["labels"]),
        over=None if over is None else shape_from_plain(over),
        attributes=tuple((name, shape_from_plain(type_)) for name, type_ in plain["attributes"]),
    )


def _shape(types: Mapping[str, Mapping[str, Any]], oid: int, modifier: int, text: str) -> TypeShape:
    told = types[str(oid)]
    over = None
    if told["over"] != _UNKNOWN:
        # an array hands its modifier on to its elements
        inner = modifier if told["kind"] == "a" else told["over_modifier"]
        over = _shape(types, told["over"], inner, told["over_text"])
    return TypeShape(
        text=text,
        name=told["name"],
        kind=told["kind"],
        category=told["category"],
        modifier=modifier,
        delimiter=told["delimiter"],
        own=told["own"],
        labels=tuple(told["labels"] or ()),
        over=over,
        attributes=tuple(
            (name, _shape(types, inner_oid, inner_modifier, inner_text))
            for name, inner_oid, inner_modifier, inner_text in told["attributes"] or ()
        ),
    )


_TYPES = """
WITH RECURSIVE columns AS (
    SELECT attnum, attname, atttypid, atttypmod FROM pg_attribute
    WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped
), reached (oid) AS (
    SELECT atttypid FROM columns
  UNION
    SELECT part.oid
    FROM reached JOIN pg_type t ON t.oid = reached.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid WHERE t.typtype = 'd'
      UNION ALL
        SELECT t.typelem WHERE t.typoutput = 'array_out'::regproc
      UNION ALL
        SELECT a.atttypid FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
        SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    ) AS part
), types AS (
    SELECT t.*,  -- a domain over an array has the array's output too
           t.typoutput = 'array_out'::regproc AND t.typtype <> 'd' AS is_array,
           CASE WHEN t.typtype = 'd' THEN t.typbasetype
                WHEN t.typoutput = 'array_out'::regproc THEN t.typelem
                ELSE coalesce((SELECT r.rngsubtype FROM pg_range r
                               WHERE t.oid IN (r.rngtypid, r.rngmultitypid)), 0)
           END AS over,
           CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE -1 END AS over_modifier
    FROM pg_type t JOIN reached USING (oid)
)
SELECT (
    SELECT json_object_agg(t.oid, json_build_object(
        'name', format_type(t.oid, NULL),
        'kind', CASE WHEN t.is_array THEN 'a' ELSE t.typtype::text END,
        'category', t.typcategory,
        'delimiter', t.typdelim,
        'own', t.oid >= 10000,
        'over', t.over::bigint,
        'over_modifier', t.over_modifier,
        'over_text', format_type(t.over, t.over_modifier),
        'labels', (SELECT json_agg(enumlabel ORDER BY enumsortorder) FROM pg_enum
                   WHERE enumtypid = t.oid),
        'attributes', CASE WHEN t.typtype = 'c' THEN (
            SELECT json_agg(json_build_array(a.attname, a.atttypid::bigint, a.atttypmod,
                                             format_type(a.atttypid, a.atttypmod))
                            ORDER BY a.attnum)
            FROM pg_attribute a
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END
    )) FROM types t
), (
    SELECT json_agg(json_build_array(attname, atttypid::bigint, atttypmod,
                                     format_type(atttypid, atttypmod)) ORDER BY attnum)
    FROM columns
)
"""
