"""PgBouncer on the way: works in session pooling where that is said, and is refused otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from tests.faults.held import gate_of
from tests.faults.test_server_locks import at_a_retry
from tests.support.checks import (
    LIMITS,
    Expected,
    Tables,
    check,
    command_ended,
    options,
    run_copy,
)
from tests.support.command import start
from tests.support.pgbouncer import pgbouncer


def test_session_pooling_works_when_it_is_said(tables: Tables) -> None:
    with pgbouncer("session", {"source": tables.source, "target": tables.target}) as uris:
        ended = run_copy(PostgresPool(uris, session_pooler=True), call_timeout=10)
        check(ended, tables, Expected(retries=0))


def test_a_save_that_is_stuck_behind_session_pooling_is_tried_again(tables: Tables) -> None:
    databases = {"source": tables.source, "target": tables.target}
    with pgbouncer("session", databases) as uris:
        with gate_of(tables, "target") as gate:
            pool = PostgresPool(uris, session_pooler=True)
            ended = run_copy(pool, call_timeout=1, observer=at_a_retry(gate.lift))
        check(ended, tables, Expected(retries=1))


def test_the_command_works_through_session_pooling(tables: Tables) -> None:
    limits = replace(LIMITS, call_timeout=10)
    with pgbouncer("session", {"source": tables.source, "target": tables.target}) as uris:
        said = ["--session-pooler", *options(limits)]
        with start(["copy", uris["source"], uris["target"], *said]) as process:
            ended = command_ended(process, limits)
        check(ended, tables, Expected(retries=0))


@pytest.mark.parametrize(
    ("mode", "side"), [("transaction", "source"), ("transaction", "target"), ("session", "target")]
)
def test_a_pooler_of_which_nothing_is_said_is_refused(
    mode: Literal["transaction", "session"], side: Literal["source", "target"], tables: Tables
) -> None:
    databases = {"source": tables.source, "target": tables.target}
    with pgbouncer(mode, {side: databases[side]}) as uris:
        ended = run_copy(tables.pool(**uris), call_timeout=10)
        words = ("PgBouncer", "session_pooler")
        expected = Expected(
            error=DatabaseError, side=side, call="connect", words=words, next_id=0, retries=0
        )
        check(ended, tables, expected)
