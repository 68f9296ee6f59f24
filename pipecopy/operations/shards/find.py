"""find_tables: the tables of the source that patterns mean, and the key of each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, ListedTable
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import Observer
from pipecopy.sharded import FoundTable, TablesReport
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import supervise

_NOT_A_PATTERN = ("22023", "2201B")
"""SQLSTATEs: an invalid parameter, an invalid regular expression."""


def find_tables(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    tables: Sequence[str] = (),
    patterns: Sequence[str] = (),
    exclude_table: Sequence[str] = (),
    key: str | None = None,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
) -> TablesReport:
    """Find the tables of the source that are meant, for `copy_tables`.

    Args:
        config: the limits.
        pool: opens databases by name; its source has to list tables, as PostgreSQL's does.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the report: it is not connected to.
        tables: names of tables.
        patterns: as psql has them, such as `public.*` or `orders_*`: each means tables, partitioned
            ones as a whole, but no partitions, views, foreign or temporary tables, nor those of the
            system, of extensions or of pipecopy itself. Without a schema it means those on the
            role's search path.
        exclude_table: patterns of tables that are left out.
        key: the column by which all are copied; None for the integer primary key of each, or
            another integer column with a unique index and without NULL.
        observer: is called with each event, in a thread of its own.
        stop: once another thread sets it, the search is given up.

    Returns:
        The tables, each once: those by name in their order, then the others by their names.

    Raises what `copy_table` raises of the source; ConfigError if a name or a pattern means no
    table, or tables have no such key: all are named.

    """

    def operate(run: Run[TablesReport]) -> None:
        run.connect_source()
        if "tables" not in run.source.offers:
            raise ConfigError(f"the Database of {run.source} can't list its tables: name each")
        found = _found(run, tables, patterns, exclude_table)
        keys = {name: key or one["key"] for name, (_, one) in found.items()}
        _refuse_without_key(run, [name for name in keys if keys[name] is None])
        run.update(
            tables=tuple(
                FoundTable(name=name, key=str(keys[name]), pattern=pattern, bytes=one["bytes"])
                for name, (pattern, one) in found.items()
            )
        )

    report = replace(
        TablesReport.of(pool, from_name, to_name), table=None, target_table=None, key=None
    )
    names = (from_name, to_name)
    return supervise(
        operate, report, config, pool, names, mode="check", observer=observer, stop=stop
    )


def _found(
    run: Run[TablesReport], tables: Sequence[str], patterns: Sequence[str], exclude: Sequence[str]
) -> dict[str, tuple[str | None, ListedTable]]:
    """Return the tables that are left by their names, each with the pattern that means it.

    Raises ConfigError for a word that means none.
    """
    wanted = [*patterns, *exclude]
    try:
        answer: list[list[ListedTable]] = run.call(run.source, "tables", wanted, list(tables))
    except DatabaseError as error:
        if error.sqlstate not in _NOT_A_PATTERN:
            raise
        raise ConfigError(str(error.driver_message or error)) from error
    by_pattern, left_out, by_name = (
        answer[: len(patterns)],
        answer[len(patterns) : len(wanted)],
        answer[len(wanted) :],
    )
    bad = [
        *(f"there is no table {name}" for name in _without(tables, by_name)),
        *(f"no table matches {one}{_hint(one)}" for one in _without(patterns, by_pattern)),
        *(
            f"no table to be left out matches {one}{_hint(one)}"
            for one in _without(exclude, left_out)
        ),
    ]
    if bad:
        raise ConfigError(f"{run.source}: {'; '.join(dict.fromkeys(bad))}")
    found: dict[str, tuple[str | None, ListedTable]] = {}
    for word, each in zip([*[None] * len(tables), *patterns], [*by_name, *by_pattern], strict=True):
        for one in each:
            found.setdefault(one["name"], (word, one))
    for each in left_out:
        for one in each:
            found.pop(one["name"], None)
    if not found:
        raise ConfigError(f"{run.source}: no table is left: all are left out")
    return found


def _without(words: Sequence[str], found: Sequence[Sequence[ListedTable]]) -> list[str]:
    return [word for word, each in zip(words, found, strict=True) if not each]


def _hint(pattern: str) -> str:
    return "" if "." in pattern else " (without a schema: on the search path of the role)"


def _refuse_without_key(run: Run[TablesReport], tables: Sequence[str]) -> None:
    if tables:
        have = "tables have" if len(tables) > 1 else "table has"
        raise ConfigError(
            f"{run.source}: {len(tables)} {have} no integer primary key, nor another integer"
            f" column with a unique index and without NULL, to be copied by: {', '.join(tables)};"
            " leave them out (`exclude_table`), or copy each by itself with `key`"
        )
