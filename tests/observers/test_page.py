"""The page that `--report` writes: what a run that was really made leaves, seen in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
    StopRequested,
    Where,
    WorkerKilled,
)
from pipecopy.observers.page.observer import Page
from pipecopy.observers.page.timeline import Timeline
from pipecopy.report import CopyReport
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
