"""An observer that blocks or raises, while all goes well and while a save is stuck."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pipecopy.errors import CallTimeoutError, FullCopyTimeoutError
from pipecopy.events import Event
from tests.faults.checks import Expected, Tables, check, run_copy
from tests.faults.held import gate_of


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


RAISED = [LookupError("what was that"), SystemExit(3), KeyboardInterrupt()]


@pytest.mark.parametrize("error", RAISED, ids=[type(error).__name__ for error in RAISED])
def test_one_that_raises(error: BaseException, tables: Tables) -> None:
    def observe(_: Event) -> None:
        raise error

    check(run_copy(tables.pool(), observer=observe), tables, Expected(retries=0, warnings=1))


def test_one_that_raises_while_a_save_is_stuck(tables: Tables) -> None:
    def observe(_: Event) -> None:
        raise LookupError("what was that")

    with gate_of(tables, "target"):
        ended = run_copy(tables.pool(), observer=observe, call_timeout=0.5)
    stuck = Expected(error=CallTimeoutError, side="target", call="save_rows", warnings=1)
    check(ended, tables, stuck)


def test_one_that_blocks(blocked: Blocked, tables: Tables) -> None:
    ended = run_copy(tables.pool(), observer=blocked)
    blocked.release()
    check(ended, tables, Expected(retries=0))


def test_one_that_blocks_while_a_save_is_stuck(blocked: Blocked, tables: Tables) -> None:
    with gate_of(tables, "target"):
        ended = run_copy(tables.pool(), observer=blocked, call_timeout=0.5)
    blocked.release()
    check(ended, tables, Expected(error=CallTimeoutError, side="target", call="save_rows"))


def test_one_that_blocks_until_after_the_whole_copys_limit(
    blocked: Blocked, tables: Tables
) -> None:
    with gate_of(tables, "target"):
        ended = run_copy(tables.pool(), observer=blocked, call_timeout=10, full_copy_timeout=2)
    blocked.release()
    check(ended, tables, Expected(error=FullCopyTimeoutError, side="target", call="save_rows"))
