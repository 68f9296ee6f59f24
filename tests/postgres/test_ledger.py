"""The ledger: an attempt saves as long as it has its shard, and one run at a time has a table."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pipecopy.contracts import (
    SavedRows,
    ServerChangedError,
    Session,
    ShardLostError,
    TargetInUseError,
)
from pipecopy.postgres import PostgresPool
from pipecopy.postgres.application_name import application_name
from pipecopy.postgres.database import PostgresDatabase
from pipecopy.postgres.errors import PostgresError
from pipecopy.shard import Part, Shard
from tests.support.databases import Both, TemporaryDatabase
from tests.support.opened import RUN_ID, opened
from tests.support.profiles import create_profiles

pytestmark = pytest.mark.server

OTHER_RUN = "b" * 12
TABLE = '"public"."profiles"'
LEDGER = "SELECT to_regclass('public.pipecopy_shards')::text"
FAR = 'SELECT "next_id"::bigint, "rows", "attempt", "state" FROM pipecopy_shards WHERE shard = 0'
_tokens = itertools.count(1)


def shard(number: int = 0, *, run: str = RUN_ID, first: int = 1, last: int = 100) -> Shard:
    return Shard(run=run, table=TABLE, shard=number, first=first, last=last, next_id=first)


def keeper(
    database: TemporaryDatabase | str, run_id: str = RUN_ID, *, ledger: str = "pipecopy_shards"
) -> contextlib.AbstractContextManager[PostgresDatabase]:
    part = Part(role="run", token=f"{next(_tokens):06x}")
    return opened(database, "target", run_id=run_id, part=part, call_timeout=1, ledger=ledger)


def plan(database: TemporaryDatabase, *shards: Shard) -> None:
    with keeper(database, shards[0].run) as planning:
        planning.plan_shards(shards)


def attempt(
    database: TemporaryDatabase, number: int = 0, *, call_timeout: float = 5
) -> contextlib.AbstractContextManager[PostgresDatabase]:
    """Open the target as another attempt of a shard does, which has yet to claim it."""
    part = Part(role="shard", number=number, token=f"{next(_tokens):06x}")
    return opened(database, "target", part=part, call_timeout=call_timeout)


def rows(*ids: int, says: str = "own") -> list[tuple[int, dict[str, str]]]:
    return [(id_, {"says": says}) for id_ in ids]


@pytest.fixture
def target(target_db: TemporaryDatabase) -> TemporaryDatabase:
    """Give a target with an empty table, and a run of one shard."""
    create_profiles(target_db)
    plan(target_db, shard())
    return target_db


# -- one attempt at a time


def known(database: TemporaryDatabase) -> None:
    database.execute("INSERT INTO profiles VALUES (5, '{}'), (200, '{}')")


@pytest.mark.parametrize("before", [None, known], ids=["direct", "upsert"])
def test_an_attempt_whose_shard_another_one_has_claimed_saves_nothing(
    before: Callable[[TemporaryDatabase], None] | None, target: TemporaryDatabase
) -> None:
    if before is not None:
        before(target)
    with attempt(target) as stale:
        assert stale.claim_shard(0, False).attempt == 1
        stale.save_rows(rows(1, 2))
        # claimed by hand: the session of the stale attempt is not ended
        target.execute("UPDATE pipecopy_shards SET attempt = 2, claim = 'another'")
        with pytest.raises(ShardLostError, match="another attempt has claimed shard 0"):
            stale.save_rows(rows(3, 4, 5, says="stale"))
        with pytest.raises(ShardLostError):
            stale.end_shard("done", None)
    assert target.value("SELECT count(*) FROM profiles WHERE id IN (3, 4)") == 0
    assert target.value("SELECT count(*) FROM profiles WHERE data->>'says' = 'stale'") == 0
    assert target.query(FAR) == [(3, 2, 2, "running")]


def test_the_number_of_an_attempt_that_a_failover_has_lost_is_not_enough(
    target: TemporaryDatabase,
) -> None:
    with attempt(target) as stale:
        assert stale.claim_shard(0, False).attempt == 1
        target.execute("UPDATE pipecopy_shards SET attempt = 0, claim = NULL, state = 'waiting'")
        with attempt(target) as now:
            assert now.claim_shard(0, False).attempt == 1
            with pytest.raises(ShardLostError):
                stale.save_rows(rows(1, says="stale"))
            now.save_rows(rows(1))
    assert target.value("SELECT data->>'says' FROM profiles") == "own"


def test_a_new_session_sees_that_its_server_has_lost_saves(target: TemporaryDatabase) -> None:
    with attempt(target) as one:
        one.claim_shard(0, False)
        one.save_rows(rows(1, 2))
        target.execute("UPDATE pipecopy_shards SET next_id = 2; DELETE FROM profiles WHERE id = 2")
        end_session(target)
        with pytest.raises(ServerChangedError, match="ids from 2 on are not saved"):
            one.save_rows(rows(3))
    assert target.value("SELECT count(*) FROM profiles") == 1


def end_session(target: TemporaryDatabase) -> None:
    """End the only session of the run, and wait until it is gone."""
    (session,) = [s for s in target.sessions() if s["application_name"].startswith("pipecopy/")]
    target.execute("SELECT pg_terminate_backend(%s, 5000)", [session["pid"]])


def test_rows_and_next_id_are_exact_whatever_is_done_again(target: TemporaryDatabase) -> None:
    with attempt(target) as one:
        one.claim_shard(0, False)
        for saved in (one.save_rows(rows(1, 2)), one.save_rows(rows(1, 2))):
            assert isinstance(saved, SavedRows)
        assert saved.unchanged == 2  # the retry of a save that was cut off after its commit
        assert target.query(FAR) == [(3, 2, 1, "running")]
        end_session(target)
        one.save_rows(rows(3, 4))
        assert target.query(FAR) == [(5, 4, 1, "running")]
    target.execute('INSERT INTO profiles VALUES (7, \'{"says": "own"}\'::jsonb)')
    with attempt(target) as two:
        assert two.claim_shard(0, False).next_id == 5
        assert two.save_rows(rows(7)) == SavedRows(inserted=0, updated=0, unchanged=1)
        assert target.query(FAR) == [(8, 5, 2, "running")]
        two.end_shard("done", None)
        two.end_shard("done", None)  # likewise
    assert target.query(FAR) == [(101, 5, 2, "done")]
    with attempt(target) as three:
        assert three.claim_shard(0, False).state == "done"


def test_the_greatest_id_there_is(target: TemporaryDatabase) -> None:
    greatest = 2**63 - 1
    target.execute("DELETE FROM pipecopy_shards")
    plan(target, shard(first=greatest - 1, last=greatest))
    with attempt(target) as one:
        one.claim_shard(0, False)
        one.save_rows(rows(greatest - 1, greatest))
        assert target.value('SELECT "next_id" FROM pipecopy_shards') == greatest + 1
        one.end_shard("done", None)
    assert target.value('SELECT "next_id" FROM pipecopy_shards') == greatest + 1


def test_a_claim_ends_the_sessions_of_other_attempts(target: TemporaryDatabase) -> None:
    with attempt(target) as one:
        one.claim_shard(0, False)
        with attempt(target, call_timeout=5) as two:
            # the frozen host has woken, has opened a session again, and froze in a COPY
            stale = _session_of_another_attempt()
            with target.connect(application_name=application_name(stale)) as frozen:
                frozen.execute('BEGIN; INSERT INTO profiles VALUES (1, \'{"says": "stale"}\')')
                two.claim_shard(0, False)
                two.save_rows(rows(1, 2))
                with pytest.raises(psycopg.OperationalError):
                    frozen.execute("COMMIT")
            with pytest.raises(ShardLostError):  # before it begins a COPY
                one.save_rows(rows(1, says="stale"))
    assert target.value("SELECT array_agg(data->>'says') FROM profiles") == ["own", "own"]


def _session_of_another_attempt() -> Session:
    part = Part(role="shard", number=0, token="abcdef")  # noqa: S106 - not a password
    return Session(run_id=RUN_ID, side="target", call_timeout=5, part=part)


def test_a_claim_waits_for_the_save_under_way_and_not_for_ever(target: TemporaryDatabase) -> None:
    with target.connect() as stuck, attempt(target, call_timeout=0.5) as one:
        stuck.execute("BEGIN; UPDATE pipecopy_shards SET next_id = 7")
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            one.claim_shard(0, False)
        assert time.monotonic() - began < 0.6
        with ThreadPoolExecutor(1) as threads:
            claiming = threads.submit(one.claim_shard, 0, False)
            stuck.execute("COMMIT")
            assert claiming.result().next_id == 7


def test_shards_below_the_greatest_id_are_copied_straight_into_the_table(
    target: TemporaryDatabase,
) -> None:
    target.execute("INSERT INTO profiles VALUES (60, '{}'), (1000, '{}')")
    temporary = "SELECT count(*) FROM pg_class WHERE relname = 'pipecopy_batch'"
    with attempt(target) as one:
        one.claim_shard(0, False)
        one.save_rows(rows(1, 2))
        one.save_rows(rows(58, 59))
        assert target.value(temporary) == 0
        one.save_rows(rows(60, 61))
        assert target.value(temporary) == 1
    assert target.value("SELECT count(*) FROM profiles") == 7


def test_a_stopped_shard_is_claimed_only_if_that_is_asked_for(target: TemporaryDatabase) -> None:
    with keeper(target) as keeping, attempt(target) as one:
        one.claim_shard(0, False)
        keeping.stop_shards(RUN_ID, False)
        with pytest.raises(ShardLostError, match="or the run was stopped"):
            one.save_rows(rows(1))
        with pytest.raises(ShardLostError):  # what ended it is not what ended the run
            one.end_shard("failed", "the session was ended")
        with attempt(target) as two:
            assert two.claim_shard(0, False).state == "stopped"
            assert two.claim_shard(0, True).state == "running"


def test_a_save_that_is_stuck_keeps_no_other_shard_from_being_stopped(
    target: TemporaryDatabase,
) -> None:
    target.execute("DELETE FROM pipecopy_shards")
    plan(target, shard(0, last=50), shard(1, first=51))
    with keeper(target) as keeping, target.connect() as stuck:
        stuck.execute("BEGIN; UPDATE pipecopy_shards SET next_id = 7 WHERE shard = 0")
        with pytest.raises(TimeoutError):
            keeping.stop_shards(RUN_ID, False)
        assert [one.state for one in keeping.shards(RUN_ID)] == ["waiting", "stopped"]
        stuck.execute("COMMIT")
        keeping.stop_shards(RUN_ID, False)
        assert [one.state for one in keeping.shards(RUN_ID)] == ["stopped", "stopped"]


def test_what_is_left_of_a_run_that_was_dropped_saves_nothing(target: TemporaryDatabase) -> None:
    with attempt(target) as one:
        one.claim_shard(0, False)
        with opened(target, run_id=OTHER_RUN) as anyone:
            assert anyone.drop_run(RUN_ID, False) == []
        assert target.value(LEDGER) is None
        with pytest.raises(ShardLostError):
            one.save_rows(rows(1))
        with attempt(target) as two, pytest.raises(PostgresError, match="has no shard 0 of run 0"):
            two.claim_shard(0, False)
    assert target.value("SELECT count(*) FROM profiles") == 0


# -- one run at a time


def test_a_second_run_of_the_table_is_refused(target: TemporaryDatabase) -> None:
    spelled = (
        "^the sharded run 0123456789ab of public.profiles is not complete, and nobody is copying"
    )
    with pytest.raises(TargetInUseError, match=spelled) as raised:
        plan(target, shard(run=OTHER_RUN))
    assert raised.value.remedy == (
        "go on with it (`run='0123456789ab'`), or drop it with `drop_run(run='0123456789ab')`"
    )
    part = Part(role="table", token="1")  # noqa: S106 - not a password
    with opened(  # before anything is planned
        target, "target", run_id=OTHER_RUN, part=part, table="PUBLIC.Profiles"
    ) as planning:
        for rests, abandoned in (("9 min", False), ("11 min", True)):
            target.execute(f"UPDATE pipecopy_shards SET updated = now() - interval '{rests}'")
            with pytest.raises(TargetInUseError, match=spelled) as raised:
                planning.describe()
            assert raised.value.holder is not None
            assert raised.value.holder.abandoned is abandoned
    target.execute("UPDATE pipecopy_shards SET state = 'done'")
    plan(target, shard(run=OTHER_RUN))


def test_a_run_that_is_paused_for_long_is_not_abandoned(target: TemporaryDatabase) -> None:
    part = Part(role="table", token="1")  # noqa: S106 - not a password
    with (
        keeper(target) as driving,
        opened(target, "target", run_id=OTHER_RUN, mode="check", part=part) as checking,
    ):
        driving.hold_run(RUN_ID)
        driving.open_shards(RUN_ID)
        target.execute("UPDATE pipecopy_shards SET updated = now() - interval '11 min'")
        with pytest.raises(TargetInUseError, match=f"is writing .*run {RUN_ID}") as raised:
            checking.describe()
    assert raised.value.holder is not None
    assert not raised.value.holder.abandoned


def test_two_plans_at_once(target_db: TemporaryDatabase) -> None:
    create_profiles(target_db)
    runs = [f"{number:012x}" for number in range(1, 5)]
    barrier = threading.Barrier(len(runs))

    def planned(run: str) -> bool:
        with keeper(target_db, run) as planning:
            barrier.wait(20)
            try:
                planning.plan_shards([shard(run=run)])
            except TargetInUseError:
                return False
            return True

    with ThreadPoolExecutor(len(runs)) as threads:
        assert sum(threads.map(planned, runs)) <= 1
    others = [Shard(**{**vars(shard(run=run)), "table": f"t{run}"}) for run in runs]

    def planned_another(one: Shard) -> None:
        with keeper(target_db, one.run) as planning:
            barrier.wait(20)
            planning.plan_shards([one])

    for _ in range(5):  # nobody has made the ledger yet
        target_db.execute("DROP TABLE IF EXISTS pipecopy_shards")
        with ThreadPoolExecutor(len(runs)) as threads:
            list(threads.map(planned_another, others))
        assert target_db.value("SELECT count(*) FROM pipecopy_shards") == len(runs)


def test_a_plan_that_was_cut_off_after_its_commit_is_made_once(target: TemporaryDatabase) -> None:
    plan(target, shard())
    assert target.value("SELECT count(*) FROM pipecopy_shards") == 1


def test_a_run_is_driven_by_one_process(target: TemporaryDatabase) -> None:
    with keeper(target) as first, keeper(target) as second:
        first.hold_run(RUN_ID)
        (session,) = [s for s in target.sessions() if s["query"].startswith("SET LOCAL")][:1]
        with pytest.raises(TargetInUseError) as raised:
            second.hold_run(RUN_ID)
        assert "another process drives the sharded run 0123456789ab: pipecopy run" in str(
            raised.value
        )
        with keeper(target, OTHER_RUN) as another, pytest.raises(TargetInUseError):
            another.hold_run(RUN_ID)  # to drop it
        # its session breaks: the next one takes the run again
        target.execute("SELECT pg_terminate_backend(%s, 5000)", [session["pid"]])
        assert len(first.shards(RUN_ID)) == 1
        with pytest.raises(TargetInUseError):
            second.hold_run(RUN_ID)
        # or another process has it by then
        for each in target.sessions():
            if each["application_name"].startswith("pipecopy/"):
                target.execute("SELECT pg_terminate_backend(%s, 5000)", [each["pid"]])
        second.hold_run(RUN_ID)
        with pytest.raises(TargetInUseError):
            first.stop_shards(RUN_ID, False)
    assert target.value('SELECT "state" FROM pipecopy_shards') == "waiting"


def test_shards_and_a_plain_copy_keep_each_other_out(target: TemporaryDatabase) -> None:
    with attempt(target, 0), attempt(target, 1):
        refused = _refused_copy(target)
        assert "is writing public.profiles: shard 0 of pipecopy run 0123456789ab" in refused
        with keeper(target) as keeping:
            keeping.open_shards(RUN_ID)
            refused = _refused_copy(target)
            assert "writing public.profiles: pipecopy run 0123456789ab" in refused
    with keeper(target) as keeping:  # between two shards
        keeping.open_shards(RUN_ID)
        assert "pipecopy run 0123456789ab" in _refused_copy(target)
    with opened(target, "target", run_id=OTHER_RUN):
        with attempt_refused(target) as message:
            assert f"is writing public.profiles: pipecopy run {OTHER_RUN}" in message
        with keeper(target) as keeping, pytest.raises(TargetInUseError):
            keeping.open_shards(RUN_ID)


def _refused_copy(target: TemporaryDatabase) -> str:
    session = Session(run_id=OTHER_RUN, side="target", call_timeout=1, patience=0)
    with pytest.raises(TargetInUseError) as raised:
        PostgresPool().for_session(session).connect(target.uri)
    return str(raised.value)


@contextlib.contextmanager
def attempt_refused(target: TemporaryDatabase) -> Iterator[str]:
    with pytest.raises(TargetInUseError) as raised, attempt(target, call_timeout=0.5):
        pass
    yield str(raised.value)


def test_two_ledgers_do_not_make_two_runs_of_a_table(target: TemporaryDatabase) -> None:
    with (
        attempt(target),
        keeper(target, OTHER_RUN, ledger="other_ledger") as planning,
        pytest.raises(TargetInUseError, match="shard 0 of pipecopy run 0123456789ab"),
    ):
        planning.plan_shards([shard(run=OTHER_RUN)])
    assert target.value("SELECT to_regclass('other_ledger')") is None


# -- the table


def test_the_ledger_is_dropped_with_its_last_run(target: TemporaryDatabase) -> None:
    plan(target, Shard(**{**vars(shard(run=OTHER_RUN)), "table": "another"}))
    with keeper(target) as keeping:
        (left,) = keeping.drop_run(RUN_ID, True)
        assert (left.shard, left.state) == (0, "waiting")
        target.execute("UPDATE pipecopy_shards SET state = 'done'")
        assert keeping.drop_run(RUN_ID, True) == []
        assert keeping.drop_run(RUN_ID, True) == []  # that was cut off after its commit
    assert target.value("SELECT array_agg(run) FROM pipecopy_shards") == [OTHER_RUN]
    with keeper(target, OTHER_RUN) as keeping, target.connect() as reading:
        reading.execute("BEGIN; SELECT FROM pipecopy_shards")
        keeping.drop_run(OTHER_RUN, True)
    assert target.value(LEDGER) == "pipecopy_shards"  # it was being read
    plan(target, shard())
    with keeper(target) as keeping:
        keeping.drop_run(RUN_ID, False)
    assert target.value(LEDGER) is None


def test_a_role_that_may_not_create_the_ledger_is_told_what_a_dba_has_to_run(
    both: Both, role: str
) -> None:
    database = both.target
    create_profiles(database)
    database.execute(f"GRANT ALL ON profiles TO {role}")
    uri = database.server.uri(database.name, user=role)
    part = Part(role="table", token="1")  # noqa: S106 - not a password
    with opened(uri, "target", part=part) as planning:
        (found,) = [f for f in planning.describe().findings if f.what == "ledger"]
    with keeper(uri) as planning, pytest.raises(PostgresError) as raised:
        planning.plan_shards([shard()])
    message = f"the role {role} may not create the ledger public.pipecopy_shards"
    assert (found.message, raised.value.message) == (message, message)
    assert found.remedy == raised.value.remedy
    assert found.remedy is not None
    database.execute(found.remedy)
    with opened(uri, "target", part=part) as planning:
        assert [f for f in planning.describe().findings if f.what == "ledger"] == []
    with keeper(uri) as keeping:
        keeping.plan_shards([shard()])
        with opened(uri, "target", part=Part(role="shard", number=0, token="2")) as one:  # noqa: S106 - as above
            one.claim_shard(0, False)
            one.save_rows(rows(1))
            one.end_shard("done", None)
        assert keeping.drop_run(RUN_ID, True) == []
    assert database.query("SELECT count(*) FROM pipecopy_shards") == [(0,)]  # not the role's own
    database.execute(f"REVOKE UPDATE ON pipecopy_shards FROM {role}")
    with keeper(uri) as planning, pytest.raises(PostgresError) as raised:
        planning.plan_shards([shard()])
    assert str(raised.value) == (
        f"the role {role} lacks rights to the ledger public.pipecopy_shards: UPDATE; run GRANT"
        f' SELECT, INSERT, UPDATE, DELETE ON public.pipecopy_shards TO "{role}";'
    )


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ('TABLE pipecopy_shards (run text, "table" text)', "it has no column shard integer"),
        ("VIEW pipecopy_shards AS SELECT 1", "it has no column run text"),
        ("SEQUENCE pipecopy_shards", "it has no column run text"),
    ],
)
def test_another_table_of_that_name_is_no_ledger(
    sql: str, said: str, target_db: TemporaryDatabase
) -> None:
    target_db.execute(f"CREATE {sql}")
    message = f"public.pipecopy_shards is no ledger of pipecopy: {said}"
    with keeper(target_db) as keeping:
        for call in (lambda: keeping.plan_shards([shard()]), lambda: keeping.shards(None)):
            with pytest.raises(PostgresError) as raised:
                call()
            assert str(raised.value) == f"{message}; name another one (`ledger`)"


NAMES = {
    "pipecopy_shards": "public.pipecopy_shards",
    "Ledger": "public.ledger",
    '"My ""Ledger"""': 'public."My ""Ledger"""',
    'ops."Shards.Of"': 'ops."Shards.Of"',
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_one_table_under_every_search_path(
    name: str, target_db: TemporaryDatabase
) -> None:
    target_db.execute("CREATE SCHEMA ops")
    paths: Sequence[str] = ("ops, public", "public", "nowhere")
    for path in paths:
        uri = f"{target_db.uri}?options=-c%20search_path%3D{path.replace(', ', '%2C')}"
        with keeper(uri, ledger=name) as keeping:
            if path == paths[0]:
                keeping.plan_shards([shard()])
            assert [s.run for s in keeping.shards(RUN_ID)] == [RUN_ID]
    assert target_db.value("SELECT to_regclass(%s) IS NOT NULL", [NAMES[name]]) is True
