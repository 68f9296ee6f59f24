"""What costs round trips on a slow line: a batch, the start and the end of a copy."""

from __future__ import annotations

import contextlib

import pytest

from pipecopy.contracts import Session, Side
from pipecopy.postgres import PostgresPool
from tests.support.databases import Both, TemporaryDatabase
from tests.support.opened import RUN_ID, handed_over, opened
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.proxy import Proxy
from tests.support.runs import copy
from tests.support.traffic import Traffic

pytestmark = pytest.mark.server


def test_a_load_takes_one_and_a_save_two(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 400)
    create_profiles(target_db)
    loads: list[int] = []
    saves: list[int] = []
    with (
        Proxy(source_db.server) as near,
        Proxy(target_db.server) as far,
        opened(near.uri(source_db.name), "source") as reader,
        opened(far.uri(target_db.name), "target") as writer,
    ):
        reader.get_max_id()
        writer.get_max_id()
        for begin in 2 * [0, 100, 200, 300]:
            before = near.round_trips, far.round_trips
            writer.save_rows(handed_over(reader.load_rows(begin, begin + 100)))
            loads.append(near.round_trips - before[0])
            saves.append(far.round_trips - before[1])
    assert set(loads) == {1}
    assert set(saves) == {2}  # into an empty target, and into a full one


def test_a_first_copy_needs_five_before_the_first_load_and_two_after_the_last_save(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 400)
    create_profiles(target_db)
    with Proxy(source_db.server) as near, Proxy(target_db.server) as far:
        pool = PostgresPool({"source": near.uri(source_db.name), "target": far.uri(target_db.name)})
        copy(pool, batch_size=100)
        (loads,), (saves,) = near.traffic, far.traffic
    assert_equal_tables(source_db, target_db)
    # the encryption that is asked for, the startup packet, the session's start, describe; the ids
    assert _copies(loads) == [5, 6, 7, 8]
    assert _copies(saves) == [4, 6, 8, 10]
    assert loads.round_trips == 8 + 1
    # the last save itself, which sequence is behind the key, and its value
    assert saves.round_trips == 10 + 2 + 2


def test_a_copy_over_a_full_target_leaves_no_error_in_the_servers_log(both: Both) -> None:
    create_profiles(both.source, 400)
    create_profiles(both.target)
    server = both.target.server
    before = server.log.count("ERROR:")
    for part in (False, False, True):  # of an empty target, a full one, one that lacks low ids
        if part:
            both.target.execute("DELETE FROM profiles WHERE id <= 300")
        with Proxy(server) as far:
            pool = PostgresPool({"source": both.source.uri, "target": far.uri(both.target.name)})
            copy(pool, batch_size=100)
            (saves,) = far.traffic
        assert_equal_tables(both.source, both.target)
        # as many round trips as the first copy needs
        assert (_copies(saves), saves.round_trips) == ([4, 6, 8, 10], 14)
    assert server.log.count("ERROR:") == before


def _copies(traffic: Traffic) -> list[int]:
    """Return how many round trips there were before each COPY."""
    return [number for number, said in enumerate(traffic.said) if b"COPY " in said]


@pytest.mark.parametrize(("side", "needed"), [("source", 1), ("target", 1 + 2)])
def test_a_session_that_replaces_another_one_looks_at_the_table_as_it_starts(
    source_db: TemporaryDatabase, side: Side, needed: int
) -> None:
    create_profiles(source_db, 100)
    with opened(source_db, side) as first:
        described, greatest_id = first.describe(), first.get_max_id()
        rows = handed_over(first.load_rows(0, 50))
        position = first.position
    session = Session(
        run_id=RUN_ID,
        side=side,
        call_timeout=30,
        described=described,
        greatest_id=greatest_id,
        position=position,
    )
    with Proxy(source_db.server) as proxy:
        pool = PostgresPool().for_session(session)
        with contextlib.closing(pool.connect(proxy.uri(source_db.name))) as second:
            assert proxy.round_trips == 3
            if side == "source":
                second.load_rows(50, 101)
            else:  # which sees first that the last rows are still there
                second.save_rows(rows)
            assert proxy.round_trips == 3 + needed


def test_who_is_open_is_asked_with_the_greatest_id(source_db: TemporaryDatabase) -> None:
    create_profiles(source_db, 10)
    with (
        Proxy(source_db.server) as proxy,
        opened(proxy.uri(source_db.name), "source") as reader,
        source_db.connect() as late,
    ):

        def trips_of_a_look() -> tuple[int, int]:
            before = proxy.round_trips
            found = reader.open_transactions()
            assert not isinstance(found, str)
            return len(found), proxy.round_trips - before

        assert reader.get_max_id() == 10
        late.execute("BEGIN; INSERT INTO profiles (data) VALUES ('1')")
        assert trips_of_a_look() == (0, 0)
        assert trips_of_a_look() == (1, 1)
        assert reader.get_max_id() == 10
        reader.load_rows(0, 5)
        late.execute("ROLLBACK")
        assert trips_of_a_look() == (0, 1)


def test_a_role_that_may_not_see_who_is_open_gets_the_greatest_id(
    source_db: TemporaryDatabase,
) -> None:
    create_profiles(source_db, 10)
    name = f"blind_{source_db.name}"
    source_db.execute(
        f"CREATE ROLE {name} LOGIN; GRANT SELECT ON profiles TO {name};"
        "REVOKE SELECT ON pg_locks FROM PUBLIC"
    )
    try:
        with opened(source_db.server.uri(source_db.name, user=name), "source") as reader:
            assert reader.get_max_id() == 10
            assert "may not see which transactions" in str(reader.open_transactions())
    finally:
        source_db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
