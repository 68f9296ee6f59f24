"""The page that `--report` writes: what a run that was really made leaves, seen in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipecopy import Config
from pipecopy.events import (
    BatchSaved,
    CallEnded,
    CallStarted,
    CommandEnded,
    Event,
    Hang,
    Paused,
    RangeKnown,
    Resumed,
    RetryScheduled,
    RunStarted,
    ShardEnded,
    ShardsKnown,
    ShardStarted,
    StopRequested,
    Where,
    WorkerKilled,
)
from pipecopy.observers.page.observer import Page
from pipecopy.observers.page.timeline import Timeline
from pipecopy.report import CopyReport
from pipecopy.shard import Shard
from tests.support.chromium import Chromium, chromium
from tests.support.command import run_stubbed
from tests.support.copying import copying
from tests.support.pages import text_of

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
STUCK = """Strike(side="target", call="save_rows", fault="deadlock", skip=2, times=1),"""
BROKEN = """Strike(side="target", call="save_rows", fault="ValueError", skip=2),"""
QUICK = ("--batch-size", "100", "--call-timeout", "500ms", "--retries-delay", "200ms")
WATCH = """
(() => { globalThis.shown = new Promise(done => new MutationObserver(done).observe(
  document.getElementById("chosen"), { childList: true })); })()
"""
FITS = """
[...document.querySelectorAll(".cards")].map(one => one.parentElement)
  .every(one => one.clientWidth > 0 && one.scrollWidth <= one.clientWidth)
"""
STACK = '  File "/opt/driver.py", line 41 in load_rows'


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the page of a copy whose third save deadlocked in C, and was retried."""
    folder = tmp_path_factory.mktemp("page")
    result = run_stubbed(
        copying(folder, STUCK, table=HOSTILE), *QUICK, "--report", str(folder / "a.html")
    )
    assert result.returncode == 0, result.stderr
    return folder / "a.html"


def test_figures_are_there_without_javascript(page: Path) -> None:
    said = text_of(page)
    assert f"✓ Complete copy {HOSTILE} source → target" in said
    assert " Rows 500 " in said
    assert " Batches 6 " in said  # the first one has the ids from 0 on
    assert " Kills 1 Retries 1 " in said
    assert " 1 attempt that failed, 1 retry " in said
    assert re.search(r" save_rows of ids 200 to 299 attempt 1 killed after 500 ms ", said)
    assert "_deadlock" in said
    assert "pipecopy verify source target --table" in said
    assert page.stat().st_size < 2_000_000


@pytest.mark.parametrize("width", [1200, 390])
def test_both_charts_are_drawn_light_and_dark(browser: Chromium, page: Path, width: int) -> None:
    browser.open(page, width=width)
    assert browser.run("document.title") == f"Complete: copy {HOSTILE}"
    assert browser.run("document.images.length") == 0
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("document.getElementById('throughput').offsetHeight") > 150
    for dark in (False, True):
        browser.prefer(dark=dark)
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (not dark)
        assert browser.run("document.querySelectorAll('#lanes > *').length") == 1
        for colour in ("failed", "retry", "load"):
            assert browser.pixels("lanes", colour)[0] > 20, (colour, dark)
        assert browser.pixels("throughput", "area")[0] > 20
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run(FITS)
    assert browser.complaints == []  # no error, and no request to anywhere


def test_a_kill_shows_its_stack_when_it_is_chosen(browser: Chromium, page: Path) -> None:
    browser.open(page)
    assert browser.run("document.getElementById('chosen').textContent") == ""
    browser.run(WATCH)
    browser.click(*browser.pixels("lanes", "failed")[1])
    chosen = browser.run("shown.then(() => document.getElementById('chosen').textContent)")
    assert "attempt 1 killed" in chosen
    assert "_deadlock" in chosen
    browser.run("location.hash = '#stack-0'")  # as a link in the table does
    assert browser.run("document.querySelector('#stack-0').closest('details').open")


def test_a_failure_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    result = run_stubbed(copying(tmp_path, BROKEN), *QUICK, "--report", str(path))
    assert result.returncode == 4
    said = text_of(path)
    assert "✕ Failed copy profiles" in said
    assert re.search(r"What went wrong target '?target'?: save_rows", said)
    assert "broken on purpose" in said
    assert "To go on: fix what the error names, and run it again: it is safe" in said
    assert "exit code 4" in said
    assert "see <code>pipecopy guide exit-codes</code>" in path.read_text()


def long_run(batches: int, *, kills: int) -> Iterator[Event]:
    """Yield the events of a run with so many batches of 0.2 s, and kills of 10 s each."""
    config = Config(
        batch_size=10, max_retries=1, retries_delay=1, call_timeout=10, full_copy_timeout=10**6
    )
    now = 1_785_456_000.0
    names: dict[str, Any] = {"source": "prod", "target": "stats", "table": "profiles"}
    yield RunStarted(at=now, run_id="3f2a9c1b77de", config=config, mode="copy", **names)
    yield RangeKnown(at=now, first_id=0, max_id=batches * 10)
    every = max(1, batches // max(kills, 1))
    for number in range(batches):
        ids = number * 10, number * 10 + 10
        load = Where(side="source", dbname="prod", call="load_rows", key_range=ids, attempt=1)
        save = Where(side="target", dbname="stats", call="save_rows", key_range=ids, attempt=1)
        if kills and number % every == 0:
            stack = f"{STACK}\n  line {number}\n" + "x" * 3000
            hang = Hang(state="sleeping", wait_channel="", stack=stack)
            kill: dict[str, Any] = {"pid": 1, "seconds": 10, "abandoned": False, "hang": hang}
            yield CallStarted(at=now, where=load, limit=10)
            now += 10
            yield WorkerKilled(at=now, where=load, **kill)
            yield CallEnded(at=now, where=load, outcome="timed out", seconds=10, detail="<" * 300)
            yield RetryScheduled(at=now, where=load, delay=1)
            yield Paused(at=now, reason="max lag", detail="&" * 300)
            now += 1
            yield Resumed(at=now, reason="max lag", seconds=1)
        if kills and number == batches // 2:
            yield Paused(at=now, reason="pause file", detail="the file stop exists")
            now += 3
            yield Resumed(at=now, reason="pause file", seconds=3)
        for where in (load, save):
            yield CallStarted(at=now, where=where, limit=10)
            now += 0.1
            yield CallEnded(at=now, where=where, outcome="returned", seconds=0.1)
        yield BatchSaved(at=now, key_range=ids, rows=10, bytes=1000)
    yield StopRequested(at=now, grace=0)
    report = CopyReport(
        **names, run_id="3f2a9c1b77de", outcome="complete", warnings=("<" * 900,) * 100
    )
    yield CommandEnded(
        at=now,
        exit_code=0,
        error=None,
        go_on=None,
        stopped_by=None,
        report=report,
        result=report.to_dict() | {"command": "copy", "exit_code": 0},
    )


def test_a_page_stays_small_however_long_the_run(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    page = Page(str(path))
    for event in long_run(1_200, kills=400):
        page(event)
    assert path.stat().st_size < 2_000_000
    browser.open(path)
    assert browser.complaints == []
    assert browser.pixels("lanes", "failed")[0] > 20
    assert " 400 attempts that failed, a request to stop, 401 pauses " in text_of(path)
    assert " pause file the file stop exists " in text_of(path)
    assert " 341 shorter ones are left out. " in text_of(path)
    assert " 221 more in between are left out. " in text_of(path)


def sharded_run(shards: int, batches: int, *, jobs: int) -> Iterator[Event]:
    """Yield the events of a run of so many shards on two hosts, of so many batches each.

    Each fifth one is lost on its first host, and one has a call that is killed.
    """
    first, *_, last = long_run(1, kills=0)
    yield first
    now, size = first.at, 10 * batches
    known = [
        Shard(
            run="3f2a9c1b77de",
            table="a.b",
            shard=n,
            first=n * size,
            last=n * size + size - 1,
            next_id=0,
        )
        for n in range(shards)
    ]
    yield ShardsKnown(at=now, shards=tuple(known), jobs=jobs, estimated_rows=None)
    attempts = [(shard, 1) for shard in known] + [(shard, 2) for shard in known[::5]]
    for begin in range(0, len(attempts), jobs):
        now += 1
        for slot, (shard, number) in enumerate(attempts[begin : begin + jobs]):
            of: dict[str, Any] = {"shard": shard.shard, "host": f"batch-{slot % 2}", "table": "a.b"}
            place: dict[str, Any] = {"first": shard.first, "last": shard.last, "next_id": 0}
            yield ShardStarted(at=now, shard=shard.shard, table="a.b", attempt=number, **place)
            if shard.shard == 3:
                ids = shard.first, shard.first + 10
                load = Where(side="source", dbname="p", call="load_rows", key_range=ids, attempt=1)
                hang = Hang(state="sleeping", wait_channel="", stack=STACK)
                kill: dict[str, Any] = {"pid": 1, "seconds": 0.5, "abandoned": False, "hang": hang}
                yield CallStarted(**of, at=now, where=load, limit=0.5)
                yield WorkerKilled(**of, at=now + 0.5, where=load, **kill)
                yield CallEnded(**of, at=now + 0.5, where=load, outcome="timed out", seconds=0.5)
                yield RetryScheduled(**of, at=now + 0.5, where=load, delay=0.1)
            is_lost = number == 1 and shard.shard % 5 == 0
            for batch in range(0 if is_lost else batches):
                ids = shard.first + batch * 10, shard.first + batch * 10 + 10
                at = now + (batch + 1) / batches
                yield BatchSaved(**of, at=at, key_range=ids, rows=10, bytes=1000)
            outcome, rows = ("lost", 0) if is_lost else ("done", size)
            told: dict[str, Any] = {"outcome": outcome, "rows": rows, "again": is_lost}
            of["host"] = of["host"] if is_lost else None  # the saves have told it
            yield ShardEnded(**of, **told, at=now + 0.9, attempt=number, next_id=shard.first + rows)
    yield replace(last, at=now + 1)


@pytest.mark.parametrize("width", [1200, 390])
def test_the_shards_of_a_run_are_drawn_by_host(
    browser: Chromium, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "a.html"
    page = Page(str(path))
    for event in sharded_run(2_000, 5, jobs=20):
        page(event)
    assert path.stat().st_size < 2_000_000
    browser.open(path, width=width)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    for colour in ("done", "lost", "failed"):
        assert browser.pixels("lanes", colour)[0] > 20, colour
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run(FITS)
    said = text_of(path)
    assert " 2,000 shards: 2,000 done, 400 run again " in said
    assert " shard 0 a.b batch-0 done 1.8 s 50 rows 2 attempts ids 0 to 49 " in said
    assert " 1,800 more are left out. " in said
    assert re.search(r" shard 3 on batch-1, source load_rows of ids 150 to 159 attempt 1 ", said)


def test_the_timeline_of_shards_has_all_rows_once_and_few_bars() -> None:
    timeline = Timeline()
    for event in sharded_run(3_000, 2, jobs=8):
        timeline.take(event)
    said = timeline.to_dict()
    assert sum(said["throughput"]["rows"]) == pytest.approx(60_000)
    shards = said["shards"]
    assert sum(bar["count"] for bar in shards["bars"]) == 3_600
    assert len(shards["bars"]) <= 1_200
    by_outcome = dict.fromkeys(("done", "lost"), 0.0)
    for bar in shards["bars"]:
        by_outcome[bar["outcome"]] += bar["end"] - bar["begin"]
    assert by_outcome == {
        "done": pytest.approx(3_000 * 0.9, rel=0.05),
        "lost": pytest.approx(600 * 0.9, rel=0.05),
    }
    assert [(host["host"], host["lanes"]) for host in shards["hosts"]] == [
        ("batch-0", 4),
        ("batch-1", 4),
    ]


def test_what_a_long_run_did_is_gathered_in_constant_memory() -> None:
    timeline = Timeline()
    for event in long_run(5_000, kills=0):
        timeline.take(event)
    said = timeline.to_dict()
    throughput = said["throughput"]
    assert sum(throughput["rows"]) == pytest.approx(50_000, abs=50)
    assert 200 < len(throughput["rows"]) <= 480
    rates = [rows / throughput["seconds"] for rows in throughput["rows"][:-1]]
    assert (min(rates), max(rates)) == (pytest.approx(50, rel=0.02), pytest.approx(50, rel=0.02))
    assert sum(one["count"] for one in said["calls"]) == 10_000
    assert len(said["calls"]) <= 800
    (load, save) = said["calls_by_kind"]
    assert (load["count"], save["count"]) == (5_000, 5_000)
    assert load["median"] == pytest.approx(0.1, rel=0.05)
