"""An observer is told everything in order; one that blocks or raises stops no copy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from pipecopy.errors import CallTimeoutError, FullCopyTimeoutError
from pipecopy.events import Event, RunEnded, RunStarted
from tests.support.checks import Expected, check, run_copy
from tests.support.drivers import RecordingPool
from tests.support.runs import copy
from tests.support.strikes import Strike

RAISED = [LookupError("what was that"), SystemExit(3), KeyboardInterrupt()]
STUCK = Strike(side="target", call="save_rows", fault="deadlock")


class Blocked:
    """An observer that never comes back from its first event, until it is released."""

    def __init__(self) -> None:
        self._released = threading.Event()

    def __call__(self, _: Event) -> None:
        self._released.wait()

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def blocked() -> Iterator[Blocked]:
    observer = Blocked()
    yield observer
    observer.release()


@pytest.fixture
def pool(sqlite_pool: RecordingPool) -> RecordingPool:
    """Give a source with 50 rows, and an empty target."""
    sqlite_pool.create(range(1, 51))
    return sqlite_pool


def test_it_sees_everything_in_order(pool: RecordingPool) -> None:
    events: list[Event] = []
    report = copy(pool, observer=events.append)
    names = [type(event).__name__ for event in events]
    assert names[:2] == ["RunStarted", "CallStarted"]
    assert names.count("CallStarted") == names.count("CallEnded") == report.calls
    assert names.count("BatchSaved") == report.batches == 6
    assert isinstance(events[0], RunStarted)
    assert events[0].run_id == report.run_id
    assert events[-1] == RunEnded(report=report)
    assert json.loads(json.dumps(report.to_dict()))["run_id"] == report.run_id


@pytest.mark.parametrize("error", RAISED, ids=[type(error).__name__ for error in RAISED])
def test_one_that_raises(error: BaseException, pool: RecordingPool) -> None:
    def observe(_: Event) -> None:
        raise error

    ended = run_copy(pool, observer=observe)
    check(ended, pool, Expected(retries=0, warnings=1))
    assert ended.report is not None
    assert type(error).__name__ in ended.report.warnings[0]


def test_one_that_raises_while_a_save_is_stuck(pool: RecordingPool) -> None:
    def observe(_: Event) -> None:
        raise LookupError("what was that")

    ended = run_copy(pool.faulty(STUCK), observer=observe)
    stuck = Expected(error=CallTimeoutError, side="target", call="save_rows", warnings=1)
    check(ended, pool, stuck)


def test_one_that_blocks(blocked: Blocked, pool: RecordingPool) -> None:
    ended = run_copy(pool, observer=blocked)
    assert ended.seconds is not None
    assert ended.seconds < 3
    blocked.release()
    check(ended, pool, Expected(retries=0))


def test_one_that_blocks_while_a_save_is_stuck(blocked: Blocked, pool: RecordingPool) -> None:
    ended = run_copy(pool.faulty(STUCK), observer=blocked)
    blocked.release()
    check(ended, pool, Expected(error=CallTimeoutError, side="target", call="save_rows"))


def test_one_that_blocks_until_after_the_whole_copys_limit(
    blocked: Blocked, pool: RecordingPool
) -> None:
    ended = run_copy(pool.faulty(STUCK), observer=blocked, call_timeout=10, full_copy_timeout=1.5)
    blocked.release()
    check(ended, pool, Expected(error=FullCopyTimeoutError, side="target", call="save_rows"))
