"""The PostgreSQL driver: `PostgresPool` is a `ConnectionPool` over psycopg 3.

The only package that imports psycopg. From the outside in: `pool` (which server), `database` (the
calls), `reader`, `writer` by `upsert`, and `checksums` (a batch) in `rows` or `rowtext`; `guard`,
`look` and `ddl` (the table stays the same), `failover` (so does the server); `connection` (opened
again when found dead), `session` by `session_start`, `questions` (several in one round trip),
`wire` (COPY). Of the table: `table`, `types`, `sequence` (set past the last id), `describe` by
`rights` and `writable` (what speaks against a copy), `casts` and `versions` (types and texts that
differ), `create` by `schema` (one like the other); for a check `inspect` and `estimate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipecopy.postgres.errors import PostgresError
from pipecopy.postgres.pool import PostgresPool

if TYPE_CHECKING:
    from pipecopy.postgres.rows import CopyRows

__all__ = ["CopyRows", "PostgresError", "PostgresPool"]


def __getattr__(name: str) -> Any:
    if name != "CopyRows":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipecopy.postgres.rows import CopyRows  # noqa: PLC0415 - loads psycopg: see pool.py

    return CopyRows
