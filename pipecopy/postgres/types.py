# ruff: noqa: S608 - SQL is what this file writes; it holds nothing but other SQL
"""The types of a table's columns, as values that can be compared across servers.

One walk finds them: a part of the query that finds the table (table.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipecopy.postgres.names import literal, quoted

INTEGERS = ("smallint", "integer", "bigint")
GREATEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1}
_UNKNOWN = 0
_FIRST_OF_USERS = 16384
"""The first oid of what users and extensions create: theirs differ from server to server."""
_NOT_READ_BACK = ("int2vector", "oidvector", "tsquery")
"""Types of which the server does not read the binary form that it writes of an empty value."""
_VERSIONED = ("interval", '"char"', "jsonpath")
"""Types of which some value is another one on other versions: see versions.py."""
_ENUMS_AS = 25
"""The oid of text, as which the values of enums are sent."""


@dataclass(frozen=True, kw_only=True)
class TypeShape:
    """A type with all that it is made of."""

    oid: int
    text: str
    """As SQL writes it with its modifier, such as `numeric(10,2)`; qualified if need be."""
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
    send: str
    """The function that makes its binary form."""
    has_binary: bool
    """The server writes and reads such a form."""
    not_null: bool
    """It, or a domain below it, takes no NULL."""
    has_default: bool
    """It, or a domain below it, has a default."""
    labels: tuple[str, ...] = ()
    """An enum's."""
    over: TypeShape | None = None
    """A domain's base type, an array's elements, what a range is over."""
    attributes: tuple[tuple[str, TypeShape], ...] = ()
    """A composite's."""

    @property
    def base(self) -> TypeShape:
        """The type without the domains around it."""
        return self.over.base if self.kind == "d" and self.over is not None else self

    @property
    def sent_as(self) -> int:
        """The oid of the type as which its values are sent."""
        return _ENUMS_AS if self.base.kind == "e" else self.base.oid

    @property
    def is_user_made(self) -> bool:
        """Whether a user or an extension created it, so that its oid is another one elsewhere."""
        return self.oid >= _FIRST_OF_USERS

    @cached_property
    def within(self) -> tuple[TypeShape, ...]:
        """The type, and all types within."""
        return (self, *(inner for part in self._parts for inner in part.within))

    @property
    def has_names(self) -> bool:
        """Whether its text holds names of objects (the reg* types), by the search path."""
        return any(not part.own and part.name.startswith("reg") for part in self.within)

    @property
    def versioned(self) -> tuple[str, ...]:
        """The types within that have a value which is another one on other versions."""
        return tuple(name for name in _VERSIONED if any(p.name == name for p in self.within))

    @cached_property
    def portable(self) -> bool:
        """Whether its binary form is the same on any server: no foreign OIDs in it.

        Values of the reg* types are OIDs; arrays and composites hold those of their parts' types.
        """
        holds_oids = self.kind in "ac" and any(part.is_user_made for part in self._parts)
        return (
            self.has_binary
            and not holds_oids
            and not self.has_names
            and (self.own or self.name not in _NOT_READ_BACK)
            and all(part.portable for part in self._parts)
        )

    def spelled(self, *, labels: bool = True) -> str:
        """Return the type, with what it is made of if it is not one of the server's own.

        Without `labels`, of an enum only that it is one.
        """
        inside = _inside(self, labels=labels)
        return f"{self.text} ({inside})" if inside else self.text

    @property
    def _parts(self) -> tuple[TypeShape, ...]:
        over = () if self.over is None else (self.over,)
        return (*over, *(part for _, part in self.attributes))


def _inside(type_: TypeShape, *, labels: bool) -> str:
    if not type_.own:
        return ""
    if type_.kind == "e":
        listed = ", ".join(map(literal, type_.labels)) or "no values"
        return f"enum: {listed}" if labels else "enum"
    if type_.kind == "c":
        parts = (f"{quoted(name)} {t.spelled(labels=labels)}" for name, t in type_.attributes)
        return f"composite: {', '.join(parts)}"
    if type_.over is None:
        return ""
    if type_.kind == "a":  # it has no more to it than its elements' type
        return _inside(type_.over, labels=labels)
    kind = {"d": "domain", "r": "range", "m": "multirange"}[type_.kind]
    return f"{kind} over {type_.over.spelled(labels=labels)}"


def shape_of(types: Mapping[str, Any], oid: int, modifier: int, text: str) -> TypeShape:
    """Return a type, from what `TYPES` found of it and of those within."""
    facts = types[str(oid)]
    over = None
    if facts["over"] != _UNKNOWN:
        # an array hands its modifier on to its elements
        inner = modifier if facts["kind"] == "a" else facts["over_modifier"]
        over = shape_of(types, facts["over"], inner, facts["over_text"])
    below = over if facts["kind"] == "d" else None
    return TypeShape(
        oid=oid,
        text=text,
        name=facts["name"],
        kind=facts["kind"],
        category=facts["category"],
        modifier=modifier,
        delimiter=facts["delimiter"],
        own=facts["own"],
        send=facts["send"] or "",
        has_binary=facts["has_binary"],
        not_null=facts["not_null"] or (below is not None and below.not_null),
        has_default=facts["has_default"] or (below is not None and below.has_default),
        labels=tuple(facts["labels"] or ()),
        over=over,
        attributes=tuple(
            (name, shape_of(types, inner_oid, inner_modifier, inner_text))
            for name, inner_oid, inner_modifier, inner_text in facts["attributes"] or ()
        ),
    )


def shape_from_plain(plain: Mapping[str, Any]) -> TypeShape:
    """Return what `dataclasses.asdict` made plain values of."""
    attributes = tuple((name, shape_from_plain(type_)) for name, type_ in plain["attributes"])
    parts = {
        "labels": tuple(plain["labels"]),
        "over": plain["over"] and shape_from_plain(plain["over"]),
        "attributes": attributes,
    }
    return TypeShape(**{**plain, **parts})


REACHED = """
reached (oid) AS (  -- the types of the columns, and all within
    SELECT type FROM columns
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
"""
"""The one walk over the types of `columns`, whose types are called `type`."""
TYPES = """
(SELECT json_object_agg(t.oid, json_build_object(
    'name', format_type(t.oid, NULL),
    'kind', CASE WHEN t.is_array THEN 'a' ELSE t.typtype::text END,
    'category', t.typcategory,
    'delimiter', t.typdelim,
    'own', t.oid >= 10000,
    'send', (SELECT proname FROM pg_proc WHERE oid = t.typsend),
    'has_binary', t.typsend <> 0 AND t.typreceive <> 0,
    'not_null', t.typnotnull,
    'has_default', t.typtype = 'd' AND t.typdefault IS NOT NULL,
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
)) FROM types t)
"""
"""What `shape_of` has to know of each of them."""
USERS_TYPES = f"ARRAY(SELECT oid FROM types WHERE oid >= {_FIRST_OF_USERS})"
"""Those of them that users or extensions created, for `types_token`."""


def types_token(oids: str) -> str:
    """Return SQL for the versions of what users' types are made of; `oids` is SQL for an array.

    Without a join: an upsert, with which it may be planned, keeps the planner from the fast one.
    """
    of_types = f"ANY (({oids})::pg_catalog.oid[])"
    return (
        "pg_catalog.concat("
        "(SELECT pg_catalog.string_agg(e.xmin::pg_catalog.text, ',' ORDER BY e.oid)"
        " FROM pg_catalog.pg_enum AS e"
        f" WHERE e.enumtypid OPERATOR(pg_catalog.=) {of_types}), ';',"
        " (SELECT pg_catalog.string_agg(a.xmin::pg_catalog.text, ',' ORDER BY a.attrelid, a.attnum)"
        " FROM pg_catalog.pg_attribute AS a"
        " WHERE a.attrelid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT t.typrelid"
        f" FROM pg_catalog.pg_type AS t WHERE t.oid OPERATOR(pg_catalog.=) {of_types}))))"
    )
