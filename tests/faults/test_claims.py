"""What a copy claims to have saved, when the target has lost it while nobody was looking.

The writer is idle meanwhile: the copy waits for a load of the source.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from tests.faults.held import copying
from tests.faults.replicated import BATCH, CRASHED, HELD, Saved, limits_for
from tests.support.checks import Ended, Tables, check_next_id, check_nothing_left
from tests.support.databases import TemporaryDatabase
from tests.support.gates import Gate, finish_gate, load_gate
from tests.support.profiles import add_profiles

pytestmark = pytest.mark.server

_UNLOGGED, _LOGGED = "ALTER TABLE profiles SET UNLOGGED", "ALTER TABLE profiles SET LOGGED"
_Loss = Callable[[TemporaryDatabase], None]


def _swap(target: TemporaryDatabase) -> None:
    target.execute(
        "ALTER TABLE profiles RENAME TO was; CREATE TABLE profiles (LIKE was INCLUDING ALL)"
    )


def _empty(target: TemporaryDatabase) -> None:
    target.server.restart("immediate")


_LOSSES: dict[str, _Loss] = {"swapped": _swap, "emptied": _empty}


@contextlib.contextmanager
def _idle_writer(tables: Tables, *, resume: bool = False) -> Iterator[tuple[Gate, Future[Ended]]]:
    """Hold a copy in a load, with all that was loaded before saved."""
    saved = Saved(HELD - BATCH)
    with (
        load_gate(tables.source, HELD) as gate,
        copying(tables, observer=saved, resume=resume, **limits_for(CRASHED)) as ending,
    ):
        saved.wait()
        yield gate, ending


def _check_nothing_claimed(ended: Ended, tables: Tables) -> None:
    assert ended.report is not None
    assert ended.report.next_id == 0
    check_next_id(ended.report, tables)
    check_nothing_left()


def test_a_table_that_was_unlogged_for_the_time_of_a_crash_is_empty(own_tables: Tables) -> None:
    target = own_tables.target
    with _idle_writer(own_tables) as (gate, ending):
        target.execute(_UNLOGGED)
        _empty(target)
        target.execute(_LOGGED)
        gate.lift()
        ended = ending.result()
    assert ended.side == "target", ended.message or ended.report
    _check_nothing_claimed(ended, own_tables)


@pytest.mark.parametrize("lose", _LOSSES.values(), ids=_LOSSES)
def test_a_copy_that_resumed_claims_nothing_of_what_was_there(
    lose: _Loss, own_tables: Tables
) -> None:
    add_profiles(own_tables.target, 1, 4 * BATCH + 1)
    own_tables.target.execute(_UNLOGGED)
    with _idle_writer(own_tables, resume=True) as (gate, ending):
        lose(own_tables.target)
        gate.lift()
        ended = ending.result()
    assert ended.side == "target", ended.message
    _check_nothing_claimed(ended, own_tables)


@pytest.mark.parametrize("lose", _LOSSES.values(), ids=_LOSSES)
def test_an_error_of_the_source_does_not_hide_what_the_target_lost(
    lose: _Loss, own_tables: Tables
) -> None:
    own_tables.target.execute(_UNLOGGED)
    with _idle_writer(own_tables) as (gate, ending):
        reader = gate.arrival()
        lose(own_tables.target)
        own_tables.source.query("SELECT pg_terminate_backend(%s, 5000)", [reader])
        ended = ending.result()
    assert ended.side == "source", ended.message
    _check_nothing_claimed(ended, own_tables)


def test_a_target_that_is_gone_before_the_end_may_have_lost_all(own_tables: Tables) -> None:
    target = own_tables.target
    with finish_gate(target) as gate, copying(own_tables, **limits_for(CRASHED)) as ending:
        gate.arrival()
        target.server.stop("immediate")
        ended = ending.result()
    target.server.start()
    assert ended.side == "target", ended.report
    assert ended.exit_code in {4, 75}
    check_next_id(ended.report, own_tables)
    check_nothing_left()
