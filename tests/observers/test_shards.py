"""A run of shards as each observer shows it, also if its events come in an awkward order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipecopy.events import (
    BatchSaved,
    CallStarted,
    DriverOutput,
    Event,
    Paused,
    RangeKnown,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardProgress,
    ShardsKnown,
    ShardStarted,
    StopRequested,
    Warned,
    Where,
)
from pipecopy.observers.shards import Now, Shards
from pipecopy.observers.text import Status, event_line, level_of, status_line
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from tests.observers.test_display import STARTED, drawn, metered, status

REPORT = CopyReport(run_id="0123456789ab", source="prod", target="stats")
LOAD = Where(side="source", dbname="prod", call="load_rows", key_range=(100, 110), attempt=1)

CONNECT = Where(side="target", dbname="stats", call="connect", key_range=None, attempt=1)


def shard(number: int, **fields: Any) -> Shard:
    """Return a shard of 100 ids."""
    known = {"run": "0123456789ab", "table": "public.profiles", "shard": number}
    first = number * 100
    return Shard(**{**known, "first": first, "last": first + 99, "next_id": first, **fields})


def known(count: int, *done: Shard, rows: int | None = None) -> ShardsKnown:
    """Return what is told of so many shards, of which some are as given."""
    shards = {one.shard: one for one in (*map(shard, range(count)), *done)}
    return ShardsKnown(shards=tuple(shards.values()), jobs=4, estimated_rows=rows)


def of(number: int, host: str | None = "batch-7") -> dict[str, Any]:
    return {"shard": number, "host": host, "table": "public.profiles"}


def started(number: int, *, attempt: int = 1, next_id: int | None = None) -> ShardStarted:
    first = number * 100
    next_id = first if next_id is None else next_id
    where = of(number, None)
    return ShardStarted(**where, first=first, last=first + 99, next_id=next_id, attempt=attempt)


def saved(number: int, begin: int, end: int, **where: Any) -> BatchSaved:
    """Return a save of these ids of the shard, each of which has two rows of 50 bytes."""
    rows = 2 * (end - begin)
    ids = (number * 100 + begin, number * 100 + end)
    return BatchSaved(**{**of(number), **where}, key_range=ids, rows=rows, bytes=50 * rows)


def ended(number: int, outcome: Any = "done", *, at: int = 100, **fields: Any) -> ShardEnded:
    told = {"next_id": number * 100 + at, "rows": 2 * at, **fields}
    return ShardEnded(**{**of(number), "outcome": outcome, **told})


LOST = ended(1, "lost", at=40, detail="the worker died", again=True)


@pytest.mark.parametrize(
    ("events", "rows", "states"),
    [
        ([known(2), started(1), saved(1, 0, 40)], 80, {"running": 1, "waiting": 1}),
        ([known(2), ended(1), started(1)], 200, {"done": 1, "waiting": 1}),
        ([known(2), saved(1, 0, 40), started(1)], 80, {"running": 1, "waiting": 1}),
        ([saved(1, 0, 40), known(2), started(1)], 80, {"running": 1, "waiting": 1}),
        ([known(2), started(1), saved(1, 0, 40), LOST], 80, {"waiting": 2}),
        (
            [known(2), started(1), LOST, started(1, attempt=2, next_id=140), saved(1, 40, 100)],
            200,
            {"running": 1, "waiting": 1},
        ),
        (  # two attempts at once: the same rows count once
            [
                *(known(2), started(1), saved(1, 0, 40), started(1, attempt=2)),
                *(saved(1, 0, 40, host="batch-8"), saved(1, 40, 60), saved(1, 40, 60)),
            ],
            120,
            {"running": 1, "waiting": 1},
        ),
        (  # the one that is done decides, whatever becomes of the other one
            [known(2), started(1), started(1, attempt=2), ended(1), LOST],
            200,
            {"done": 1, "waiting": 1},
        ),
        (  # by the ledger; then the events come, with the result
            [
                *(known(2), started(1), ShardProgress(**of(1), next_id=160, rows=120)),
                *(saved(1, 0, 40), saved(1, 40, 60), saved(1, 60, 80)),
            ],
            160,
            {"running": 1, "waiting": 1},
        ),
        (  # the target failed over, and lost what was saved
            [known(2), started(1), saved(1, 0, 40), ended(1, "lost", at=20, again=True)],
            40,
            {"waiting": 2},
        ),
        ([known(2), started(1), ended(1, "failed", at=20)], 40, {"failed": 1, "waiting": 1}),
        ([known(2), started(1), ended(1, "stopped", at=20)], 40, {"stopped": 1, "waiting": 1}),
        ([known(2, shard(0, state="done", rows=200, next_id=100))], 200, {"done": 1, "waiting": 1}),
        ([known(2, shard(0, state="running", rows=20, next_id=10))], 20, {"waiting": 2}),
    ],
)
def test_shards_are_counted_in_whatever_order_events_come(
    events: list[Event], rows: int, states: dict[Now, int]
) -> None:
    shards = Shards()
    for event in events:
        shards.take(event)
    assert (shards.rows, +shards.states) == (rows, states)
    assert [one.number for one in shards.running] == [1] * states.get("running", 0)


HALF: list[tuple[Event, float]] = [
    (STARTED, 99.0),
    (known(4, shard(0, state="done", rows=200, next_id=100), rows=800), 100.0),
    (started(1), 100.0),
    (started(2), 100.0),
    (replace(STARTED, **of(1)), 100.0),
    (RangeKnown(**of(1), first_id=100, max_id=199), 100.0),
    (saved(1, 0, 40), 101.0),
    (ShardProgress(**of(2, "batch-8"), next_id=250, rows=100), 102.0),
    (saved(1, 40, 60), 102.0),
    (CallStarted(**of(1), where=LOAD, limit=30.0), 102.0),
    (CallStarted(**of(2, "batch-8"), where=CONNECT, limit=30.0), 103.0),
]


def test_the_status_is_that_of_all_shards() -> None:
    found = status(HALF, 110.0)
    assert (found.share, found.rows) == (0.525, 420)  # of 800
    assert found.rows_speed == pytest.approx(110)  # what was done before counts for no speed
    assert found.bytes_speed == pytest.approx(5_500)
    assert found.seconds_left == 4
    assert status_line(found) == (
        "52%, 420 rows, 110 rows/s, 0.0 MB/s, 0 kills, 0 retries, 1 of 4 shards, 2 under way,"
        " ETA 4 s,"
        " shard 1 on batch-7: running for 8 s of 30 s: source prod: load_rows of ids [100, 110),"
        " shard 2 on batch-8: running for 7 s of 30 s: target stats: connect"
    )
    not_estimated = known(4, shard(0, state="done", rows=200, next_id=100))
    by_ids = status([*HALF[:1], (not_estimated, 100.0), *HALF[2:]], 110.0)
    assert by_ids.share == pytest.approx(0.525)
    assert by_ids.seconds_left == 4


def test_the_bar_says_which_shards_are_under_way_and_where() -> None:
    assert drawn(metered([*HALF, (LOST, 103.0)], 103.5)) == [
        "━━━━━━━━━━━━━━━━━━━━━╸                          48%  ETA 7 s",
        "380 rows, 60 rows/s, 0.0 MB/s, 0 kills, 0 retries",
        "1 of 4 shards, 1 under way, 1 run again",
        "under way on batch-8: 2 (50%)",
    ]


def test_a_shard_that_was_lost_is_waited_for_no_more() -> None:
    assert status([*HALF, (LOST, 104.0)], 110.0).waits == (
        "shard 2 on batch-8: running for 7 s of 30 s: target stats: connect",
    )
    unknown = replace(LOST, host=None)
    assert len(status([*HALF, (unknown, 104.0)], 110.0).waits) == 1


def test_of_many_waits_those_that_last_longest_are_shown() -> None:
    lag = "the standby is 12 s behind (at most 10 s)"
    events: list[tuple[Event, float]] = [(known(20), 100.0)]
    for number in range(1, 5):
        where = replace(LOAD, key_range=(number, number + 1))
        events.append((CallStarted(**of(number), where=where, limit=30), 100.0 + number))
    events += [(CallStarted(**of(n), where=CONNECT, limit=30), 105.0) for n in range(9, 12)]
    events += [(Paused(**of(n), reason="max lag", detail=lag), 100.0) for n in range(5, 9)]
    assert status(events, 110.0).waits == (
        f"4 shards: paused for 10 s: {lag}",
        "shard 1 on batch-7: running for 9 s of 30 s: source prod: load_rows of ids [1, 2)",
        "and 4 more such waits",
    )


def test_a_run_that_is_complete_is_shown_so_whatever_was_estimated() -> None:
    events: list[tuple[Event, float]] = [(known(1, rows=1_000), 100.0), (started(0), 100.0)]
    found = status([*events, (saved(0, 0, 50), 101.0), (ended(0), 102.0)], 102.0)
    assert (found.share, found.seconds_left) == (1.0, 0)
    over = status([*events, (ended(0, "lost", rows=2_000), 101.0)], 101.0)
    assert over.share == 0.99


def test_one_shard_by_hand_is_shown_as_a_run_of_its_own() -> None:
    by_hand: list[tuple[Event, float]] = [
        (replace(STARTED, **of(1)), 100.0),
        (RangeKnown(**of(1), first_id=100, max_id=199), 100.0),
        (saved(1, 0, 50), 101.0),
    ]
    found = status(by_hand, 101.0)
    assert found == Status(
        share=0.5,
        next_id=150,
        max_id=199,
        rows=100,
        rows_speed=100.0,
        bytes_speed=5_000.0,
        seconds_left=1,
    )


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (known(200, rows=1_200_000), 20, "200 shards, at most 4 at once, about 1,200,000 rows"),
        (
            known(200, shard(0, state="done")),
            20,
            "200 shards, 1 of them done, at most 4 at once",
        ),
        (known(0), 20, "no shards: there are no ids to copy"),
        (
            started(1),
            10,
            "shard 1 of public.profiles: attempt 1 began: ids from 100 to 199",
        ),
        (
            ShardProgress(**of(1), next_id=140, rows=80),
            10,
            "shard 1 of public.profiles on batch-7: every id below 140 is done: 80 rows",
        ),
        (ended(1), 10, "shard 1 of public.profiles on batch-7: done: 200 rows"),
        (
            ended(1, attempt=2),
            20,
            "shard 1 of public.profiles on batch-7: done by attempt 2: 200 rows",
        ),
        (
            LOST,
            30,
            (
                "shard 1 of public.profiles on batch-7: attempt 1 was lost: the worker died; it is"
                " run again from id 140 on"
            ),
        ),
        (
            ended(1, "failed", at=40, detail="the last lines say it"),
            30,
            "shard 1 of public.profiles on batch-7: failed at id 140: 80 rows saved",
        ),
        (
            RetryScheduled(**of(1), where=LOAD, delay=1),
            30,
            (
                "shard 1 of public.profiles on batch-7: source prod: load_rows of ids [100, 110):"
                " attempt 1 timed out; retrying in 1 s"
            ),
        ),
        (
            Warned(message="no index", shard=1),
            30,
            "shard 1: warning: no index",
        ),
        (
            DriverOutput(side="source", dbname="prod", text="x", table="public.profiles"),
            20,
            "public.profiles: source prod: driver output: x",
        ),
        (replace(STARTED, **of(1)), 10, "shard 1 of public.profiles on batch-7: copying"),
        (RangeKnown(**of(1), first_id=100, max_id=199), 10, "ids from 100 to 199"),
        (Paused(**of(1), reason="max lag", detail="12 s"), 10, "paused: 12 s"),
        (StopRequested(**of(1), grace=1, finishing="the batch"), 10, "finishing the batch"),
        (RunEnded(**of(1), report=REPORT), 10, None),
    ],
)
def test_the_lines_of_shards(event: Event, level: int, line: str | None) -> None:
    assert level_of(event, of_run=event.shard is None) == level
    said = event_line(event)
    assert (said is None) if line is None else line in str(said)
    if level > 10:
        assert said == line


def test_a_line_of_shard_by_hand_is_not_hidden() -> None:
    by_hand: RunStarted = replace(STARTED, **of(1))
    assert level_of(by_hand, of_run=True) == 20
