"""What a driver's calls returned, seen to be what the contract says before it is used."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, get_args

from pipecopy.contracts import SavedRows, TableDescription
from pipecopy.finding import Finding, Mark
from pipecopy.shard import Shard
from pipecopy.workers.messages import cut


def check_plain(call: str, answer: Any) -> None:
    """Raise TypeError if what should be findings, or shards, is none: none must get lost."""
    found: Any = ()
    if call == "meet" or (call == "create" and not isinstance(answer, str | None)):
        found = answer
    elif isinstance(answer, TableDescription):
        found = answer.findings
    elif call == "survey" and isinstance(answer, dict):
        found = answer.get("findings", ())
    elif call == "claim_shard" and not isinstance(answer, Shard):
        raise TypeError(f"claim_shard returned {cut(repr(answer))}, not a Shard")
    elif call == "shards" and not all(isinstance(one, Shard) for one in answer):
        raise TypeError(f"shards returned {cut(repr(answer))}, not a list of Shard")
    if not isinstance(found, list | tuple) or not all(map(_is_finding, found)):
        raise TypeError(f"{call} returned {cut(repr(found))}, not a list of findings")


def _is_finding(one: object) -> bool:
    return (
        isinstance(one, Finding)
        and one.mark in get_args(Mark)
        and isinstance(one.message, str)
        and isinstance(one.remedy, str | None)
    )


def int_of(call: str, found: object) -> int:
    """Return what the call returned if it is an int."""
    if isinstance(found, bool):
        raise TypeError(f"{call} returned a bool, not an int")
    try:
        return operator.index(found)  # type: ignore[arg-type] # it says so if it is none
    except TypeError:
        raise TypeError(
            f"{call} returned {type(found).__name__}, not an int (0 if there is no row)"
        ) from None


def batches_of(call: str, found: Any, ids: tuple[int, int], most: int) -> list[tuple[int, int]]:
    """Return where batches end and how many rows they have, if they follow each other."""
    batches, (end, max_id) = [], ids
    for batch in found:
        match batch:
            case [_, _]:
                before, (end, rows) = end, (int_of(call, number) for number in batch)
            case _:
                raise TypeError(f"{call} returned {cut(repr(batch))}, not (end, rows)")
        if not before < end <= max_id:
            raise ValueError(f"{call} returned {end}, not an id in ({before}, {max_id}]")
        if rows < 0:
            raise ValueError(f"{call} returned {rows} rows up to {end}")
        batches.append((end, rows))
    if len(batches) > most:
        raise ValueError(f"{call} returned {len(batches)} batches, more than {most}")
    return batches


def estimates_of(call: str, found: Any, asked: Sequence[int]) -> list[int] | None:
    """Return the numbers of rows below the first of the ids that were asked for."""
    if found is None:
        return None
    rows = [int_of(call, number) for number in found]
    if not 0 < len(rows) <= len(asked) or min(rows) < 0:
        raise ValueError(f"{call} returned {cut(repr(rows))} for {len(asked)} ids")
    return rows


def counts_in(saved: object) -> SavedRows | None:
    """Return what became of the rows, if that is what it is: a driver may return anything."""
    if not isinstance(saved, SavedRows):
        return None
    counts = (saved.inserted, saved.updated, saved.unchanged)
    return saved if all(type(count) is int and count >= 0 for count in counts) else None
