"""Who copies which data set, and when: in rounds, so that a slow minute strikes all alike."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench import progress
from bench.contenders import Command, CommandError, Contender, Floor, Pipe, Pipecopy
from bench.peers import Dlt, Pgcopydb, Pgloader, Sling, Upsert
from bench.servers import Databases

_LIMIT_EVERY = 4
"""Turns after which the limit is timed again: every ratio depends on it, and the machine's speed
changes from minute to minute."""


def contenders(data_set: str, rows: int) -> list[Contender]:
    """Return who copies this data set of so many rows; the first one is the limit.

    Rows of 50 KB and of 20 MB are for those alone whose users would have such: batches of
    different sizes hold the same rows there, since their bytes are bounded.
    """
    tenth = max(1, rows // 10)
    if data_set == "small_2m":
        return [Pipe("binary"), Command(10_000)]
    if data_set == "small_600k":
        few, many = Pipecopy(1_000, 1), Pipecopy(10_000, 1)
        return [Pipe("binary"), Command(10_000), many, few, Floor(1_000)]
    if data_set != "small":
        return [
            Pipe("binary"),
            Pipe("text", once=True),
            Pipecopy(10_000, 1),
            Pgcopydb(),
            Pgloader(),
            Sling(),
            Upsert(tenth),
        ]
    return [
        Pipe("binary"),
        Pipe("text"),
        *(Pipecopy(size, ahead) for size in (1_000, 10_000, 100_000) for ahead in (0, 1)),
        Floor(1_000),
        Floor(10_000),
        Pgcopydb(),
        Pgloader(),
        Sling(),
        Upsert(tenth),
        Dlt(tenth),
    ]


def run_rounds(
    databases: Databases, contenders: Sequence[Contender], rows: int, rounds: int
) -> dict[str, Any]:
    """Return what each contender did, by name; the first copy of each is compared."""
    results: dict[str, Any] = {}
    present: list[Contender] = []
    for contender in contenders:
        result: dict[str, Any] = {
            "title": contender.title,
            "kind": contender.kind,
            "rows": contender.rows or rows,
            "seconds": [],
        }
        results[contender.name] = result
        reason = contender.missing()
        if reason is None:
            present.append(contender)
        else:
            result["missing"] = reason
            progress(f"missing: {contender.title}: {reason}")
    _warm_up(databases, present)
    for number in range(rounds):
        for contender in _turns(present, number):
            if "failed" not in results[contender.name]:
                _take_turn(databases, contender, number, results[contender.name])
    return results


def _warm_up(databases: Databases, contenders: Sequence[Contender]) -> None:
    # The first copy of all would pay for the WAL's files, which are used again later.
    if contenders:
        databases.empty_target()
        contenders[0].copy(databases)


def _take_turn(
    databases: Databases, contender: Contender, number: int, result: dict[str, Any]
) -> None:
    contender.prepare(databases)
    databases.empty_target()
    began = time.monotonic()
    try:
        counted = contender.copy(databases)
    except CommandError as error:
        if contender.kind != "peer":
            raise
        progress(f"failed: {contender.title}: {error}")
        result["failed"] = "it failed"
        return
    seconds = time.monotonic() - began if counted is None else counted
    result["seconds"].append(round(seconds, 4))
    progress(f"round {number + 1}: {seconds:7.2f} s  {contender.title}")
    if "equal" not in result:
        result["equal"] = databases.copied(result["rows"])
        if contender.exact and not result["equal"]:
            raise AssertionError(f"the copy by {contender.title} differs from the source")


def _turns(contenders: Sequence[Contender], number: int) -> Iterator[Contender]:
    """Yield who copies in this round: the first one, to which all are compared, again and again."""
    limit, *others = contenders
    taking_part = [each for each in others if not (each.once and number)]
    # nobody always follows the same one
    first = number % len(taking_part) if taking_part else 0
    yield limit
    for turn, contender in enumerate(taking_part[first:] + taking_part[:first], start=1):
        yield contender
        if turn % _LIMIT_EVERY == 0:
            yield limit
