"""A database whose schema public has a trap for each name of the server's own catalog.

Every operator, function, aggregate, relation and type of pg_catalog stands in public too, with the
very same arguments, and fails if it is used; so do overloads that fit better what is often written
than the server's own do. For a role whose search path names public before pg_catalog, a statement
works only if it says which schema it means.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.servers import PostgresServer

ROLE = "strayed"
"""Has the search path that leads into the traps; the tests' own statements avoid them."""
SCHEMA = "app"
"""Begins that path: for a test's own tables."""

_BODY = "'BEGIN RAISE EXCEPTION ''public.%% was used'', %L; END'"
"""Of a function that fails: `{body}` in the statements below, which write others."""

_OPERATORS = r"""
WITH common (oid) AS (
    SELECT oid FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace
    AND typname = ANY ('{int2,int4,int8,numeric,float8,bool,oid,text,name,char,record,json,jsonb,
                         regclass,regtype,timestamptz,interval}')
), wanted AS (
    SELECT oprname AS sign, oprleft AS l, oprright AS r, oprresult AS result FROM pg_operator
    WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprcode <> 0
  UNION ALL  -- which the server's own would be passed over for
    SELECT sign, l.oid, r.oid, CASE WHEN sign = '||' THEN 'text'::regtype
                                    WHEN sign IN ('+', '-') THEN 'bigint' ELSE 'boolean' END
    FROM common AS l, common AS r, unnest('{=,<>,<,<=,>,>=,||,+,-,~~,~,!~*}'::name[]) AS sign
    WHERE NOT EXISTS (SELECT FROM pg_operator WHERE (oprname, oprleft, oprright, oprnamespace)
                                              = (sign, l.oid, r.oid, 'pg_catalog'::regnamespace))
), written AS (
    SELECT sign, 'operator ' || sign AS function, format_type(result, NULL) AS result,
           CASE WHEN l <> 0 THEN format_type(l, NULL) END AS l, format_type(r, NULL) AS r
    FROM wanted
)
SELECT format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L;'
              ' CREATE OPERATOR public.%s (%s RIGHTARG = %s, FUNCTION = public.%I)',
              function, concat_ws(', ', l, r), result, format({body}, sign),
              sign, 'LEFTARG = ' || l || ',', r, function)
FROM written
"""

# No query can call the others: they have types such as internal.
_CALLABLE = """
    p.pronamespace = 'pg_catalog'::regnamespace AND NOT EXISTS (
        SELECT FROM unnest(coalesce(p.proallargtypes, p.proargtypes) || p.prorettype) AS used
        JOIN pg_type t ON t.oid = used WHERE t.typtype = 'p' AND t.typname NOT LIKE 'any%'
        AND t.typname NOT IN ('record', '_record', 'void')) AND p.proname <> 'void_send'
"""

_FUNCTIONS = f"""
SELECT format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE %s AS %L',
              p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
              how.language, how.body)
FROM pg_proc p, LATERAL (
    SELECT 'internal', 'any_in' WHERE '"any"'::regtype = ANY (p.proargtypes)  -- which always fails
  UNION ALL
    SELECT 'plpgsql', format({{body}}, p.proname) WHERE '"any"'::regtype <> ALL (p.proargtypes)
) AS how (language, body)
WHERE p.prokind = 'f' AND {_CALLABLE}
"""

# The server's functions of any arguments are passed over for these of texts.
_TEXTS = """
SELECT DISTINCT format('CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
                       p.proname, rtrim(repeat('text, ', arguments), ', '),
                       format({body}, p.proname))
FROM pg_proc p, generate_series(1, 4) AS arguments
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
AND '"any"'::regtype = ANY (p.proargtypes) AND NOT EXISTS (
    SELECT FROM pg_proc other WHERE other.proname = p.proname AND other.pronargs = arguments
    AND 'text'::regtype = ALL (other.proargtypes))
"""

_AGGREGATES = f"""
WITH wanted AS (
    SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS arguments,
           pg_get_function_result(p.oid) AS result,
           '"any"'::regtype = ANY (p.proargtypes) AS takes_any,
           p.prorettype::regtype::text LIKE 'any%' AS gives_any
    FROM pg_proc p JOIN pg_aggregate a ON a.aggfnoid = p.oid AND a.aggkind = 'n'
    WHERE p.provariadic = 0 AND {_CALLABLE}
  UNION ALL
    SELECT 'count', format_type(oid, NULL), 'bigint', false, false FROM pg_type
    WHERE oid = ANY ('{{smallint,int,bigint,text,oid,record}}'::regtype[])
)
SELECT format('CREATE FUNCTION public.%I(%s) RETURNS int LANGUAGE %s AS %L;',
              'step of ' || name, concat_ws(', ', 'int', nullif(arguments, '')),
              CASE WHEN takes_any THEN 'internal' ELSE 'plpgsql' END,
              CASE WHEN takes_any THEN 'any_in' ELSE format({{body}}, name) END)
    || CASE WHEN gives_any THEN '' ELSE format(
           'CREATE OR REPLACE FUNCTION public.%I(int) RETURNS %s LANGUAGE plpgsql AS %L;',
           'end of ' || result, result, format({{body}}, 'an aggregate')) END
    || format('CREATE AGGREGATE public.%I(%s) (SFUNC = public.%I, STYPE = int%s)',
              name, coalesce(nullif(arguments, ''), '*'), 'step of ' || name,
              CASE WHEN NOT gives_any
                   THEN format(', FINALFUNC = public.%I', 'end of ' || result) END)
FROM wanted
"""

_RELATIONS = """
SELECT format('CREATE VIEW public.%I AS SELECT %s FROM pg_catalog.%I WHERE public.trap(%L)',
              c.relname, string_agg(quote_ident(attname), ', ' ORDER BY attnum), c.relname,
              c.relname)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
JOIN pg_type t ON t.oid = a.atttypid AND t.typtype <> 'p'
    AND t.typelem <> 'pg_statistic'::regtype
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') GROUP BY c.relname
"""

_TYPES = """
SELECT format('CREATE DOMAIN public.%I AS pg_catalog.%1$I CHECK (false)', typname)
FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
AND typcategory <> 'A'
UNION ALL SELECT 'CREATE TYPE public.record AS (nothing int)'
"""


_TRAP = """
    SET check_function_bodies = off;
    CREATE FUNCTION public.trap(name text) RETURNS boolean STABLE LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'public.% was used', name; END $$
"""


@contextlib.contextmanager
def hostile_database(server: PostgresServer) -> Iterator[TemporaryDatabase]:
    """Make such a database, in about half a second; `strayed` is the way into its traps."""
    server.execute(f"CREATE ROLE {ROLE} SUPERUSER LOGIN")
    server.execute(f"ALTER ROLE {ROLE} SET search_path = {SCHEMA}, public, pg_catalog")
    try:
        with temporary_database(server) as database:
            # what is neither there nor the server's own, the tests' statements qualify
            server.execute(f"ALTER DATABASE {database.name} SET search_path = pg_catalog")
            with database.connect() as connection:
                connection.execute(_TRAP.encode())
                for writes in (_OPERATORS, _FUNCTIONS, _TEXTS, _AGGREGATES, _RELATIONS, _TYPES):
                    rows = connection.execute(writes.replace("{body}", _BODY).encode()).fetchall()
                    connection.execute("; ".join(statement for (statement,) in rows).encode())
            yield database
    finally:
        if server.running:
            server.execute(f"DROP ROLE {ROLE}")


def strayed(database: TemporaryDatabase, path: str | None = None) -> str:
    """Return the URI with which pipecopy has the path into the traps, or another one."""
    uri = database.server.uri(database.name, user=ROLE)
    return uri if path is None else f"{uri}?options=-csearch_path%3D{path}"
