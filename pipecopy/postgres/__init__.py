"""The PostgreSQL driver: `PostgresPool` is a `ConnectionPool` over psycopg 3.

The only package that imports psycopg. From the outside in: `pool` (which server), `database` (the
calls), `reader`, `writer` by `upsert`, and `checksums` (a batch) in `rows` or `rowtext`; `guard`
and `ddl` (the table stays the same), `failover` (so does the server); `connection` (opened again
when found dead), `session` by `session_start`, `wire` (COPY). Of the table: `table`, `types`,
`sequence` (set past the last id), `describe` (what speaks against a copy), `casts` and `versions`
(types and texts that differ), `create` by `schema` (one like the other); for a check `inspect`,
`writable` and `estimate`.
"""

from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.pool import PostgresPool
from pipecopy.postgres.rows import CopyRows

__all__ = ["CopyRows", "PostgresError", "PostgresPool"]
