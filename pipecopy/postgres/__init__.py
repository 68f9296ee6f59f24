"""The PostgreSQL driver: `PostgresPool` is a `ConnectionPool` over psycopg 3.

The only package that imports psycopg. From the outside in: `pool` (which server), `database` (the
calls), `saving` and `copyrows` (a batch), `checks` and `catalog` (the table), `link` (a connection
that is opened again when found dead), `session` (its settings, orphans and lock), `wire` (COPY).
"""

from pipecopy.postgres.copyrows import CopyRows
from pipecopy.postgres.pool import PostgresPool
from pipecopy.postgres.refusal import PostgresError

__all__ = ["CopyRows", "PostgresError", "PostgresPool"]
