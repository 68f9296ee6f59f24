"""The PostgreSQL driver: `PostgresPool` is a `ConnectionPool` over psycopg 3.

The only package that imports psycopg. From the outside in: `pool` (which server), `database` (the
calls), `saving` and `copyrows` (a batch), `checks`, `writing` and `catalog` (the table),
`selection` and `where` (what of it), `link` (a connection that is opened again when found dead),
`session` (its settings, orphans and lock), `wire` (COPY). Of two tables: `fits` by `conversions`
of `shapes` (types that differ), `creating` by `definition` (one like the other).
For a check: `survey` of one side, by `facts`, `target_facts` and `estimate`.
"""

from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.pool import PostgresPool
from pipecopy.postgres.rows import CopyRows

__all__ = ["CopyRows", "PostgresError", "PostgresPool"]
