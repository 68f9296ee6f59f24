"""A run that spares its source waits between two batches, each time with its reason."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipecopy import CopyReport, VerifyReport
from pipecopy.errors import (
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    HostError,
    StoppedError,
)
from pipecopy.events import BatchSaved, CallStarted, Event, Paused, RangeVerified, Resumed
from pipecopy.units import seconds_of
from tests.supervisor.pacing import PacingPool
from tests.support.checks import Expected, check_outcome, check_times, run_copy
from tests.support.checks import check as check_ended
from tests.support.drivers import RecordingPool
from tests.support.runs import check, copy, only_problem, verify, warnings
from tests.support.silent_mount import silent_mount
from tests.support.strikes import Strike


class Seen:
    """An observer that keeps what it has seen, and does the next thing once it is time for that."""

    def __init__(self, *then: tuple[Callable[[Event], bool], Callable[[], object]]) -> None:
        self.events: list[Event] = []
        self._then = [*then]

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._then and self._then[0][0](event):
            self._then.pop(0)[1]()

    def of(self, *kinds: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def pauses(self) -> list[str]:
        """Why it was paused, as each pause began."""
        return [event.detail for event in self.of(Paused) if not event.seconds]

    def loads_while_paused(self) -> list[str]:
        """Return the calls but questions that began in a pause."""
        paused, found = False, []
        for event in self.of(Paused, Resumed, CallStarted):
            if not isinstance(event, CallStarted):
                paused = isinstance(event, Paused)
            elif paused and event.where.call in {"load_rows", "checksum"}:
                found.append(event.where.call)
        return found


def saved(end: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, BatchSaved) and event.key_range[1] >= end


def paused(event: Event) -> bool:
    return isinstance(event, Paused) and event.reason != "max rate"


# -- the rate

RATE_KEPT = (0.81, 1.35)
"""Seconds for ten batches at one each 0.1 s: never faster by more than a tenth; how much slower
than its limit a run is depends on the machine (0.91 s, measured on an idle one)."""


@pytest.mark.parametrize(("unit", "read_ahead"), [("rows", 0), ("bytes", 1)])
def test_the_rate_is_kept(unit: str, read_ahead: int, sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(100))
    size = 10.0 if unit == "rows" else copy(sqlite_pool).bytes / 10
    seen = Seen()
    # a batch each 0.1 s; the last one is not waited for
    limits: dict[str, Any] = {f"max_rate_{unit}": 10 * size, "read_ahead": read_ahead}
    report = copy(sqlite_pool, observer=seen, **limits)
    saves = [event.at for event in seen.of(BatchSaved)]
    assert RATE_KEPT[0] < saves[-1] - saves[0] < RATE_KEPT[1]
    assert {event.reason for event in seen.of(Paused, Resumed)} == {"max rate"}
    assert report.paused == pytest.approx(sum(e.seconds for e in seen.of(Resumed)), abs=0.002)
    assert 0.5 < report.paused < report.seconds


def test_a_verification_keeps_the_rate_in_rows_and_says_that_it_has_none_in_bytes(
    tmp_path: Path,
) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(100))
    copy(pool)
    seen = Seen()
    report = verify(pool, observer=seen, max_rate_rows=100, max_rate_bytes=1_500_000)
    ranges = [event.at for event in seen.of(RangeVerified)]
    assert RATE_KEPT[0] < ranges[-1] - ranges[0] < RATE_KEPT[1]
    (warning,) = report.warnings
    assert warning.startswith("the limit of at most 1.5 MB a second holds for what is repaired")


# -- the file


def test_no_load_begins_while_the_file_exists(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    sqlite_pool.create(range(100))
    file = tmp_path / "pause"
    seen = Seen((saved(20), file.touch), (paused, file.unlink))
    limits: dict[str, Any] = {"read_ahead": 1, "pause_file": str(file), "max_rate_rows": 200}
    report = copy(sqlite_pool, observer=seen, **limits)
    assert f"the file {file} exists" in seen.pauses
    assert seen.loads_while_paused() == []
    (resumed,) = [event for event in seen.of(Resumed) if event.reason == "pause file"]
    assert 0 < resumed.seconds < report.paused
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")


def test_a_limit_that_strikes_in_a_pause_says_why_and_for_how_long(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 51))
    (file := tmp_path / "pause").touch()
    ended = run_copy(sqlite_pool, full_copy_timeout=2, pause_file=str(file), max_rate_rows=50)
    report = ended.report
    assert report is not None
    assert 0 < report.paused < report.seconds
    took = re.search(r"; pauses took (.+) in all \(pause file \1\); ", ended.message)
    assert took is not None, ended.message
    assert seconds_of(took[1].replace(" ", "")) == pytest.approx(report.paused, abs=0.02)
    words = (
        f"the whole copy reached its limit of 2 s; it was paused: the file {file} exists;",
        "; nothing was copied",
    )
    expected = Expected(error=FullCopyTimeoutError, words=words, exit_code=124)
    check_ended(ended, sqlite_pool, expected)


@pytest.mark.parametrize("run", [copy, check])
def test_a_file_that_can_not_be_looked_for_ends_the_run_before_its_rows(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(5))
    path = tmp_path / ("x" * 300)
    with pytest.raises(HostError, match="refused to look for the pause file") as caught:
        run(pool, pause_file=str(path))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert str(path) in str(caught.value)
    assert pool.rows("target") == []


def test_one_that_can_no_longer_be_looked_for_pauses_the_run(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(100))
    folder = tmp_path / "mount"
    folder.mkdir()

    def lose() -> None:
        folder.rmdir()
        folder.touch()

    seen = Seen((saved(20), lose), (paused, folder.unlink))
    copy(sqlite_pool, observer=seen, pause_file=str(folder / "pause"), max_rate_rows=200)
    why = f"whether the file {folder / 'pause'} exists is not known: Not a directory (ENOTDIR)"
    assert why in seen.pauses


def test_a_look_that_never_ends_pauses_the_run_and_does_not_hold_it_up(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(20))
    folder = tmp_path / "mount"
    folder.mkdir()
    unknown = f"whether the file {folder / 'pause'} exists is not known: no answer for "
    with silent_mount(folder):
        ended = run_copy(sqlite_pool, full_copy_timeout=3, pause_file=str(folder / "pause"))
    check_outcome(ended, Expected(error=FullCopyTimeoutError, words=(unknown,), next_id=0))
    check_times(ended)
    assert ended.events(Paused)[0].detail.startswith(unknown)


def test_a_stop_ends_a_pause_at_once(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    sqlite_pool.create(range(50))
    file, stop = tmp_path / "pause", threading.Event()
    seen = Seen((saved(20), file.touch), (paused, stop.set))
    began = time.monotonic()
    with pytest.raises(StoppedError) as caught:
        copy(
            sqlite_pool,
            observer=seen,
            stop=stop,
            read_ahead=1,
            pause_file=str(file),
            max_rate_rows=50,  # so that the file is seen in time
        )
    assert time.monotonic() - began < 10  # the whole copy would have 30 s
    report = caught.value.report
    assert isinstance(report, CopyReport)
    assert 0 < report.paused < report.seconds
    # what was loaded is saved
    assert report.rows == report.next_id == len(sqlite_pool.rows("target")) < 50
    assert report.rows % 10 == 0


def test_a_stop_ends_a_pause_of_a_repair_at_once(tmp_path: Path) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(20))
    stop = threading.Event()
    seen = Seen((lambda event: isinstance(event, Paused), stop.set))
    began = time.monotonic()
    with pytest.raises(StoppedError) as caught:
        verify(
            pool,
            repair=True,
            observer=seen,
            stop=stop,
            batch_size=20,
            max_rate_rows=1,  # what was compared is paid for in 20 s
        )
    assert time.monotonic() - began < 5  # of the 10 s that a range in flight would have
    assert isinstance(report := caught.value.report, VerifyReport)
    assert (report.repaired, report.next_id) == (0, 0)
    assert seen.pauses == ["at most 1 row a second"]


# -- standbys, and sessions


COPY = (copy, saved(10))
VERIFY = (verify, lambda event: isinstance(event, RangeVerified))
OF_TARGET = 'the standby "s1" of the target is 12 s behind (at most 10 s)'
OF_SOURCE = "the source, a standby, is 12 s behind (at most 10 s)"
OF_SESSIONS = "21 sessions are active on the source (at most 20)"


@pytest.mark.parametrize(
    ("of", "side", "told", "why"),
    [(COPY, "target", '"s1"', OF_TARGET), (VERIFY, "source", None, OF_SOURCE)],
)
def test_no_load_begins_while_a_side_tells_of_more(
    of: Any, side: str, told: str | None, why: str, tmp_path: Path
) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(100))
    run, has_begun = of
    if run is verify:
        copy(pool)

    def catch_up() -> None:
        pool.tell("source", "active_sessions", 21)
        pool.tell(side, "lag", [10, told])

    seen = Seen(
        (has_begun, lambda: pool.tell(side, "lag", [12.04, told])),
        (paused, catch_up),
        (paused, lambda: pool.tell("source", "active_sessions", 20)),
    )
    # so it takes more than a second, after which both are asked again
    report = run(pool, observer=seen, max_rate_rows=80, max_lag=10, max_load=20)
    assert [each for each in seen.pauses if not each.startswith("at most")] == [why, OF_SESSIONS]
    assert seen.loads_while_paused() == []
    assert report.outcome == "complete"
    assert pool.rows("target") == pool.rows("source")
    for call in ("lag", "active_sessions"):  # once a second at most
        assert 2 < pool.asked("source", call) <= report.seconds + 1
    assert pool.asked("target", "active_sessions") == 0


def test_without_the_options_nobody_is_asked(tmp_path: Path) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(20))
    assert copy(pool).paused == 0
    assert pool.asked("source", "lag") == pool.asked("source", "active_sessions") == 0


def test_with_read_ahead_the_target_is_asked_between_two_saves(tmp_path: Path) -> None:
    pool = PacingPool(tmp_path, (Strike(side="target", call="save_rows", fault="0.1 s late"),))
    pool.create(range(120))
    copy(pool, max_lag=10, read_ahead=1)
    assert pool.asked("target", "lag") == pool.asked("source", "lag") == 2


def test_a_question_that_times_out_is_asked_again(tmp_path: Path) -> None:
    hung = Strike(side="target", call="lag", fault="deadlock", times=1)  # type: ignore[arg-type] # one of those that a driver may offer
    pool = PacingPool(tmp_path, (hung,))
    pool.create(range(20))
    report = copy(pool, max_lag=10, call_timeout=0.5, max_retries=1)
    assert (report.kills, report.retries) == (1, 1)


@pytest.mark.parametrize("run", [copy, check])
def test_a_driver_that_tells_nothing_is_refused_by_name(
    run: Callable[..., Any], sqlite_pool: RecordingPool
) -> None:
    sqlite_pool.create(range(5))
    with pytest.raises(ConfigError) as caught:
        run(sqlite_pool, max_lag=10, max_load=5)
    assert str(caught.value) == (
        "the Database of source source has no lag, which `max_lag` needs;"
        " the Database of source source has no active_sessions, which `max_load` needs;"
        " the Database of target target has no lag, which `max_lag` needs"
    )
    assert sqlite_pool.rows("target") == []


@pytest.mark.parametrize(
    ("limit", "call", "answer"),
    [
        ("max_lag", "lag", [-1, None]),
        ("max_load", "active_sessions", None),
    ],
)
def test_an_answer_that_is_none_ends_the_run_before_its_rows(
    limit: str, call: str, answer: object, tmp_path: Path
) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(5))
    pool.tell("source", call, answer)
    with pytest.raises(DatabaseError, match=f"source source: {call} failed .*{call} ") as caught:
        copy(pool, **{limit: 10})  # type: ignore[arg-type] # one of the limits
    assert (caught.value.side, caught.value.call) == ("source", call)
    assert pool.rows("target") == []
    assert only_problem(check(pool, **{limit: 10})).what == call  # type: ignore[arg-type] # as above


def test_a_check_says_what_a_copy_would_wait_for(tmp_path: Path) -> None:
    pool = PacingPool(tmp_path)
    pool.create(range(5))
    pool.tell("target", "lag", [12, '"s1"'])
    (file := tmp_path / "pause").touch()
    report = check(pool, max_lag=10, max_load=5, pause_file=str(file))
    assert report.can_start
    assert [(found.side, found.what, found.message) for found in warnings(report)] == [
        (
            "target",
            "lag",
            'a copy would wait now: the standby "s1" of the target is 12 s behind (at most 10 s)',
        ),
        (None, "pause file", f"a copy would wait now: the file {file} exists"),
    ]
