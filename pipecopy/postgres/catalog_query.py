# ruff: noqa: S608 - SQL is what this file writes; it holds nothing but other SQL
"""The one query by which the server's catalogs describe a table."""

from __future__ import annotations

NEVER_NULL = """
       a.attnotnull AND NOT EXISTS (  -- since 18 such a constraint may not be valid yet
           SELECT FROM pg_constraint WHERE conrelid = a.attrelid AND contype = 'n'
           AND conkey[1] = a.attnum AND NOT convalidated)
""".strip()
"""Whether the column `a` of pg_attribute holds no NULL."""


def types_token(oids: str) -> str:
    """Return SQL for the versions of what users' types are made of; `oids` is SQL for an array."""
    of_types = f"ANY (({oids})::pg_catalog.oid[])"
    return (
        "pg_catalog.concat("
        "(SELECT pg_catalog.string_agg(e.xmin::pg_catalog.text, ',' ORDER BY e.oid)"
        " FROM pg_catalog.pg_enum AS e"
        f" WHERE e.enumtypid OPERATOR(pg_catalog.=) {of_types}), ';',"
        " (SELECT pg_catalog.string_agg(a.xmin::pg_catalog.text, ',' ORDER BY a.attrelid, a.attnum)"
        " FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_attribute AS a"
        " ON a.attrelid OPERATOR(pg_catalog.=) t.typrelid"
        f" WHERE t.oid OPERATOR(pg_catalog.=) {of_types}))"
    )


# The inner types of each column's type, since the binary form of an array, a composite or a range
# holds theirs, and since types of the same name may be different ones. Arrays and composites also
# hold the OIDs of their element types: those of user-defined ones (from 16384) differ from server
# to server. Values of reg* types are OIDs.
COLUMNS = """
WITH RECURSIVE target AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind::text,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database_oid,
           c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
               AS has_children,
           c.relpersistence = 't' AS is_temporary,
           EXISTS (SELECT FROM pg_trigger WHERE tgenabled <> 'D' AND tgtype & 3 = 3
                   AND (tgrelid = c.oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid))))
               AS before_triggers  -- bit 0: for each row; bit 1: before
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = nullif(current_setting('pipecopy.oid'), '')::oid
), inner_types (attnum, oid, holds_oid, outer_oid, number, name, type) AS (
    SELECT attnum, atttypid, false, 0::oid, 0, ''::name, ''
    FROM pg_attribute JOIN target ON attrelid = target.oid
    WHERE attnum > 0 AND NOT attisdropped
  UNION
    SELECT i.attnum, part.oid, part.holds_oid, t.oid, part.number, part.name, part.type
    FROM inner_types i JOIN pg_type t ON t.oid = i.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype AS oid, i.holds_oid AS holds_oid, 0 AS number, ''::name AS name,
               format_type(t.typbasetype, t.typtypmod) AS type WHERE t.typtype = 'd'
      UNION ALL
        SELECT t.typelem, true, 0, '', ''
        WHERE t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc
      UNION ALL
        SELECT a.atttypid, true, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_attribute a
        WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
        SELECT r.rngsubtype, false, 0, '', format_type(r.rngsubtype, NULL)
        FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    ) AS part
), own_types AS (  -- those that the server does not have from the start
    SELECT i.attnum, json_object_agg(i.oid, json_build_array(
        CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN 'a'
             ELSE t.typtype::text END,
        CASE WHEN t.typtype = 'e' THEN (
            SELECT jsonb_agg(jsonb_build_array(0, enumlabel, '', 0) ORDER BY enumsortorder)
            FROM pg_enum WHERE enumtypid = t.oid
        ) ELSE (
            SELECT jsonb_agg(DISTINCT jsonb_build_array(p.number, p.name, p.type, p.oid::bigint))
            FROM inner_types p WHERE p.attnum = i.attnum AND p.outer_oid = i.oid
        ) END
    )) AS definitions
    FROM (SELECT DISTINCT attnum, oid FROM inner_types WHERE oid >= 10000) i
    JOIN pg_type t ON t.oid = i.oid
    GROUP BY i.attnum
), portable AS (
    SELECT attnum, bool_and(
        t.typsend <> 0 AND t.typreceive <> 0
        AND NOT (holds_oid AND t.oid >= 16384)
        AND n.oid IS NULL
        -- of an empty one the server does not read the binary form that it writes
        AND t.oid NOT IN ('int2vector'::regtype, 'oidvector'::regtype, 'tsquery'::regtype)
    ) AS portable, bool_or(n.oid IS NOT NULL) AS has_names,
    coalesce(array_agg(DISTINCT format_type(t.oid, NULL)) FILTER (
        WHERE t.oid IN ('interval'::regtype, '"char"'::regtype, 'jsonpath'::regtype)
    ), '{}') AS versioned
    FROM inner_types i JOIN pg_type t ON t.oid = i.oid
    LEFT JOIN pg_type n ON n.oid = t.oid AND n.typname LIKE 'reg%'
        AND n.typnamespace = 'pg_catalog'::regnamespace
    GROUP BY attnum
), base_types (attnum, oid) AS (
    SELECT attnum, atttypid FROM pg_attribute JOIN target ON attrelid = target.oid
    WHERE attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT b.attnum, t.typbasetype FROM base_types b JOIN pg_type t ON t.oid = b.oid
    WHERE t.typtype = 'd'
), indexes AS (
    SELECT i.indkey[0] AS attnum,
           min(ic.relname) FILTER (WHERE i.indisunique AND i.indimmediate AND i.indnkeyatts = 1
                                   AND i.indisready) AS unique_index,
           bool_or(am.amname = 'btree') AS ordered_index
    FROM pg_index i
    JOIN target ON i.indrelid = target.oid
    JOIN pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_am am ON am.oid = ic.relam
    WHERE i.indisvalid AND i.indpred IS NULL AND i.indkey[0] <> 0
    GROUP BY i.indkey[0]
)
SELECT target.*,
       (SELECT coalesce(json_object_agg(attnum, json_build_array(unique_index, ordered_index)),
                        '{}') FROM indexes),
       a.attname, format_type(a.atttypid, a.atttypmod),
       (SELECT CASE t.typtype WHEN 'e' THEN 'text'::regtype ELSE b.oid END
        FROM base_types b JOIN pg_type t ON t.oid = b.oid
        WHERE b.attnum = a.attnum AND t.typtype <> 'd'), a.attnum,
       {never_null},
       a.attidentity = 'a',
       EXISTS (SELECT FROM base_types b WHERE b.attnum = a.attnum
               AND b.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)),
       portable.portable, portable.has_names, a.atttypid,
       CASE WHEN a.attgenerated <> '' THEN (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
                                            WHERE adrelid = target.oid AND adnum = a.attnum) END,
       own_types.definitions,
       (a.attnotnull OR EXISTS (SELECT FROM base_types b JOIN pg_type t ON t.oid = b.oid
                                WHERE b.attnum = a.attnum AND t.typnotnull))
       AND NOT (a.atthasdef OR a.attidentity <> '' OR EXISTS (
           SELECT FROM base_types b JOIN pg_type t ON t.oid = b.oid
           WHERE b.attnum = a.attnum AND t.typtype = 'd' AND t.typdefault IS NOT NULL)),
       portable.versioned,
       (SELECT p.proname FROM base_types b JOIN pg_type t ON t.oid = b.oid
        JOIN pg_proc p ON p.oid = t.typsend WHERE b.attnum = a.attnum AND t.typtype <> 'd'),
       watched.types, {types_token}
FROM target
CROSS JOIN (SELECT coalesce(array_agg(DISTINCT oid::bigint ORDER BY oid::bigint), '{}') AS types
            FROM inner_types WHERE oid >= 16384) AS watched
LEFT JOIN pg_attribute a ON a.attrelid = target.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN portable ON portable.attnum = a.attnum
LEFT JOIN own_types ON own_types.attnum = a.attnum
ORDER BY a.attnum
""".replace("{never_null}", NEVER_NULL).replace("{types_token}", types_token("watched.types"))
