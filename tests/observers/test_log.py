"""Each event as a record of a logger, and as a line of JSON with the fields of the manual."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, get_args

import pytest

from pipecopy.config import Config
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    DifferencesFound,
    DriverOutput,
    Event,
    Hang,
    Paused,
    RangeKnown,
    RangeVerified,
    Resumed,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardProgress,
    ShardsKnown,
    ShardStarted,
    Warned,
    Where,
    WorkerKilled,
)
from pipecopy.observers.log import FIELDS, LogObserver, event_name, json_formatter
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from pipecopy.sharded import ShardedReport
from tests.support.logged import parsed
from tests.support.manual import PAGES

URI = "postgresql://me:s3cret@host/db"
CONFIG = Config(
    batch_size=10, max_retries=0, retries_delay=0, call_timeout=30, full_copy_timeout=100
)
LOAD = Where(side="source", dbname="prod", call="load_rows", key_range=(5, 90), attempt=2)
HANG = Hang(state="sleeping", wait_channel="do_poll", stack='  File "/d/a.py", line 1 in recv')
REPORT = CopyReport(run_id="0123456789ab", source="prod", target="stats", table="a.b")
EVENTS: list[tuple[Event, dict[str, Any]]] = [
    (
        RunStarted(
            run_id="0123456789ab", source=URI, target="t", config=CONFIG, mode="copy", table="a.b"
        ),
        {"level": "INFO"},
    ),
    (
        Paused(reason="max lag", detail="a standby"),
        {"level": "INFO", "message": "paused: a standby"},
    ),
    (Paused(reason="max lag", detail="a standby", seconds=2.5), {"level": "DEBUG", "seconds": 2.5}),
    (Resumed(reason="max lag", seconds=3), {"level": "INFO", "seconds": 3}),
    (Paused(reason="max rate", detail="at most 5 MB"), {"level": "DEBUG"}),
    (Resumed(reason="max rate", seconds=0.2), {"level": "DEBUG"}),
    (RangeKnown(first_id=5, max_id=89), {"first_id": 5, "end_id": 90}),
    (CallStarted(where=LOAD, limit=30), {"level": "DEBUG", "attempt": 2, "side": "source"}),
    (
        CallEnded(where=LOAD, outcome="raised", seconds=1.5, detail=URI),
        {"seconds": 1.5, "outcome": "raised", "call": "load_rows", "database": "prod"},
    ),
    (
        WorkerKilled(where=LOAD, pid=7, seconds=30.0, abandoned=False, hang=HANG),
        {"level": "WARNING", "pid": 7, "stack": HANG.stack, "first_id": 5, "end_id": 90},
    ),
    (
        RetryScheduled(where=LOAD, delay=0.5, reason=f"no {URI}"),
        {"level": "WARNING", "seconds": 0.5},
    ),
    (
        BatchSaved(key_range=(5, 90), rows=3, bytes=99, inserted=1, updated=2, unchanged=0),
        {"level": "DEBUG", "rows": 3, "bytes": 99, "inserted": 1, "updated": 2, "unchanged": 0},
    ),
    (BatchSaved(key_range=(5, 90), rows=0, bytes=0), {"inserted": None}),
    (RangeVerified(key_range=(5, 90), rows=3, missing=0, surplus=0, differing=0), {"end_id": 90}),
    (
        DifferencesFound(missing=(1, 2), surplus=(), differing=()),
        {"message": "missing in the target: 1-2"},
    ),
    (
        DriverOutput(side="target", dbname="stats", text=f"a\nb {URI}\n"),
        {"side": "target", "database": "stats"},
    ),
    (Warned(message="no\nindex"), {"level": "WARNING", "message": "warning: no index"}),
    (
        RunEnded(report=REPORT),
        {"level": "ERROR", "outcome": "failed", "rows": 0, "next_id": 0, "table": "a.b"},
    ),
]


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """Give a logger as a user has one, with the formatter of python-json-logger."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(json_formatter())
    own = logging.getLogger("tests.pipecopy")
    own.setLevel(logging.DEBUG)
    own.propagate = False
    own.addHandler(handler)
    yield own, stream
    own.removeHandler(handler)


def test_each_event_is_a_line_of_the_schema(
    logger: tuple[logging.Logger, io.StringIO],
) -> None:
    own, stream = logger
    observer = LogObserver(own)
    for event, _ in EVENTS:
        observer(event)
    lines = parsed(stream.getvalue())
    assert "s3cret" not in stream.getvalue()
    for line, (event, fields) in zip(lines, EVENTS, strict=True):
        assert line["event"] == event_name(type(event))
        assert {name: line[name] for name in fields} == fields
        assert (line["run"], line["table"]) == ("0123456789ab", "a.b")
        assert datetime.fromisoformat(line["time"]).timestamp() == pytest.approx(event.at, abs=1e-5)


def test_a_logger_at_info_leaves_out_calls_and_batches(
    logger: tuple[logging.Logger, io.StringIO],
) -> None:
    own, stream = logger
    own.setLevel(logging.INFO)
    observer = LogObserver(own)
    for event, _ in EVENTS:
        observer(event)
    assert not {"call_started", "call_ended", "batch_saved", "range_verified"} & {
        line["event"] for line in parsed(stream.getvalue())
    }


def test_the_events_of_shards_say_which_one_and_where(
    logger: tuple[logging.Logger, io.StringIO],
) -> None:
    own, stream = logger
    observer, (started, _) = LogObserver(own), EVENTS[0]
    shard = Shard(run="0123456789ab", table="a.c", shard=7, first=5, last=89, next_id=5)
    of: dict[str, Any] = {"shard": 7, "host": "batch-7", "table": "a.c"}
    where: dict[str, Any] = {"first": 5, "last": 89, "next_id": 5, "attempt": 2}
    ended = ShardEnded(**of, outcome="lost", next_id=50, rows=9, attempt=2, again=True)
    report = ShardedReport(
        run_id="0123456789ab", source="prod", target="stats", table="a.b", shards=1
    )
    of_one = replace(REPORT, table="a.c")
    of_shard = of | {"run": "0123456789ab"}
    of_run = {"run": "0123456789ab", "table": "a.b", "shard": None, "shards": 1, "shards_done": 0}
    events: list[tuple[Event, dict[str, Any]]] = [
        (started, {"level": "INFO"}),
        (ShardsKnown(shards=(shard,), jobs=2, estimated_rows=None), of_run | {"level": "INFO"}),
        (ShardStarted(**of, **where), of_shard | {"end_id": 90, "next_id": 5, "attempt": 2}),
        (replace(started, **of), of_shard | {"level": "DEBUG"}),
        (CallStarted(**of, where=LOAD, limit=30), of_shard | {"side": "source"}),
        (ShardProgress(**of, next_id=50, rows=9), {"level": "DEBUG", "next_id": 50, "rows": 9}),
        (RunEnded(**of, report=of_one), of_shard | {"level": "DEBUG", "outcome": "failed"}),
        (ended, of_shard | {"level": "WARNING", "outcome": "lost", "rows": 9, "next_id": 50}),
        (RunEnded(report=report), of_run | {"level": "ERROR", "outcome": "failed"}),
        (replace(started, **of), of_shard | {"level": "INFO"}),  # one by hand
        (RunEnded(**of, report=of_one), of_shard | {"level": "ERROR"}),
    ]
    for event, _ in events:
        observer(event)
    for line, (_, fields) in zip(parsed(stream.getvalue()), events, strict=True):
        assert {name: line[name] for name in fields} == fields


def test_the_manual_has_the_fields_and_the_events() -> None:
    page = PAGES["logs"]
    fields = [
        f"| `{field.name}` | {field.kind}{'' if field.always else ' or null'} | {field.meaning} |"
        for field in FIELDS
    ]
    assert "\n".join(fields) in page
    for kind in get_args(Event):
        if event_name(kind) != "command_ended":  # for the command's own files
            assert f"`{event_name(kind)}`" in page
    assert json.loads(page.split("```json\n")[1].split("```")[0]).keys() == {f.name for f in FIELDS}
