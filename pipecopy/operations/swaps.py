"""Differing rows that have each other's unique values: saved one by one, they would be refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pipecopy.arguments import function_call
from pipecopy.errors import CallTimeoutError, DatabaseError, PipecopyError
from pipecopy.report import VerifyReport
from pipecopy.supervisor.call import Call
from pipecopy.supervisor.run import Run
from pipecopy.units import id_ranges

Values: TypeAlias = Mapping[int, list[int | None]]
"""A checksum of what the row has in each unique index, None for a NULL; by id."""


def warn_of_swaps(run: Run[VerifyReport]) -> None:
    """Warn of the listed ids whose rows have each other's values in a unique index of the target.

    It is advice, and all is compared: that it can't be had in one attempt, or fails on a row,
    changes nothing; any other error is a warning.
    """
    try:
        _warn_of_swaps(run)
    except PipecopyError as error:
        run.warn(f"it is not known whether rows have each other's unique values: {error}")


def _warn_of_swaps(run: Run[VerifyReport]) -> None:
    ids = run.report.differing_ids
    offered = [endpoint.offers for endpoint in run.endpoints.both]
    if len(ids) < 2 or not all("value_checksums" in offers for offers in offered):  # noqa: PLR2004 - one row has no other
        return
    if "unique_indexes" not in run.target.offers:
        return
    key_range = (min(ids), max(ids) + 1)
    listing = run.begin(run.target, "unique_indexes", retry=False)
    if not _returned(run, listing):
        return
    indexes = _indexes(listing)
    if not indexes:
        return
    args = (sorted(ids), list(indexes.values()))
    source, target = (
        run.begin(endpoint, "value_checksums", *args, key_range=key_range, retry=False)
        for endpoint in run.endpoints.both
    )
    if not _returned(run, source, target):
        return
    here, there = _values(source, len(indexes)), _values(target, len(indexes))
    for number, name in enumerate(indexes):
        found = sorted(swapped(here, there, number))
        if found:
            run.warn(
                f"the rows with the ids {id_ranges(found, count=len(found))} have each other's"
                f" values in the unique index {name}:"
                f" {function_call('verify_tables', repair=True)} writes them in one transaction"
            )


def swapped(source: Values, target: Values, index: int) -> Iterator[int]:
    """Yield the ids that are in a ring, each with the value in the source that the target has next.

    A row that has its own value on both sides is in none.
    """
    holders = {values[index]: key for key, values in target.items() if values[index] is not None}
    following = {key: holders.get(values[index]) for key, values in source.items()}
    seen: set[int] = set()
    for start in following:
        way: dict[int, None] = {}
        key: int | None = start
        while key is not None and key not in seen:
            seen.add(key)
            way[key] = None
            key = following.get(key)
        if key in way:  # else the way ends, or leads into one that was gone before
            ring = list(way)[list(way).index(key) :]
            if len(ring) > 1:
                yield from ring


def _returned(run: Run[VerifyReport], *calls: Call) -> bool:
    """Wait for the calls; return whether all have returned, raises any error but those of a row."""
    errors = sorted(run.errors_of(calls), key=lambda error: str(error.side))
    for error in errors:
        of_a_row = isinstance(error, DatabaseError) and error.is_of_a_row
        if not of_a_row and not isinstance(error, CallTimeoutError):
            raise error
    return not errors


def _indexes(call: Call) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in call.value if isinstance(call.value, list) else (None,):
        match one:
            case [str(name), [*columns]] if columns and all(isinstance(c, str) for c in columns):
                found[name] = columns
            case _:
                raise call.wrong_value("a list of (name, columns)")
    return found


def _values(call: Call, count: int) -> Values:
    found: dict[int, list[int | None]] = {}
    for one in call.value if isinstance(call.value, list) else (None,):
        match one:
            case [int(key), [*values]] if len(values) == count and all(
                value is None or isinstance(value, int) for value in values
            ):
                found[key] = values
            case _:
                raise call.wrong_value(f"a list of (id, checksums), each of {count}")
    return found
