"""How busy a server is: its standbys, the server as a standby, and its active sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from pipecopy.contracts import Side
from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from tests.supervisor.test_pace import Seen, paused
from tests.support.databases import Both, TemporaryDatabase
from tests.support.opened import opened
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import check, copy, only_problem, verify
from tests.support.servers import PostgresServer
from tests.support.standbys import Standby

pytestmark = pytest.mark.server


@pytest.mark.timeout(90)
def test_a_copy_waits_for_a_standby(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 100)
    with PostgresServer(16) as primary, Standby(primary, cluster_name="s1") as standby:
        database = TemporaryDatabase(primary, "postgres")
        create_profiles(database)
        standby.catch_up()
        with opened(database, "target") as here, opened(standby.uri(), "source") as there:
            assert here.lag() == there.lag() == (0, None)

        # of the target
        standby.pause_replay()
        seen = Seen((paused, standby.resume_replay))
        pool = PostgresPool({"source": source_db.uri, "target": database.uri})
        report = copy(pool, observer=seen, max_lag=0.5, max_rate_rows=50)
        (why,) = [each for each in seen.pauses if not each.startswith("at most")]
        assert why.startswith('the standby "s1"')
        assert " of the target is " in why
        assert why.endswith(" behind (at most 500 ms)")
        assert seen.loads_while_paused() == []
        assert report.outcome == "complete"
        assert_equal_tables(source_db, database)

        # a source that is one itself
        standby.catch_up()
        standby.pause_replay()
        create_profiles(target_db)
        database.execute("INSERT INTO profiles (data) VALUES ('1')")
        standby.receive()
        seen = Seen((paused, standby.resume_replay))
        pool = PostgresPool({"source": standby.uri(), "target": target_db.uri})
        copy(pool, observer=seen, max_lag=0.1, max_rate_rows=50)
        (why,) = [each for each in seen.pauses if not each.startswith("at most")]
        assert why.startswith("the source, a standby, is ")

        # one that has all, and is no longer connected: nobody knows what its primary has written
        with opened(database, "source") as here, opened(standby.uri(), "source") as there:
            standby.catch_up()
            assert there.lag() == (0, None)
            standby.cut_off()
            database.execute("INSERT INTO profiles (data) VALUES ('1')")
            seconds, which = there.lag()
            assert 0 < seconds < 5
            assert which is None
            assert here.lag() == (0, None)


def test_a_copy_waits_while_too_many_sessions_are_active(both: Both) -> None:
    create_profiles(both.source, 20)
    create_profiles(both.target)
    with contextlib.ExitStack() as sessions:
        sleeping = [
            sessions.enter_context(contextlib.closing(both.source.connect())) for _ in range(3)
        ]
        for session in sleeping[:2]:
            session.pgconn.send_query(b"SELECT pg_sleep(60)")
        with opened(both.source, "source") as database:
            assert database.active_sessions() == 2  # not the third, nor its own
        seen = Seen((paused, sleeping[0].cancel))
        report = copy(both.pool(), observer=seen, max_load=1)
        sleeping[1].cancel()
    assert seen.pauses == ["2 sessions are active on the source (at most 1)"]
    assert 0.9 < report.paused < 3
    assert_equal_tables(both.source, both.target)


@pytest.mark.parametrize(
    ("run", "asked", "what"),
    [
        (verify, ("max_lag", "source"), "how far standbys are behind"),
        (copy, ("max_lag", "target"), "how far standbys are behind"),
        (copy, ("max_load", "source"), "which sessions are active"),
    ],
)
def test_a_role_that_may_not_see_it_is_told_so_before_the_first_row(
    run: Callable[..., Any], asked: tuple[str, Side], what: str, both: Both, role: str
) -> None:
    limit: dict[str, Any] = {asked[0]: 10}
    side = asked[1]
    create_profiles(both.source, 20)
    create_profiles(both.target)
    for database in (both.source, both.target):
        database.execute(
            f"GRANT TEMP ON DATABASE {database.name} TO {role};"
            f" GRANT SELECT, INSERT, UPDATE ON profiles TO {role}"
        )
    pool = both.pool(users={side: role})
    grant = f'GRANT pg_read_all_stats TO "{role}";'
    with pytest.raises(DatabaseError) as caught:
        run(pool, **limit)
    error = caught.value
    assert f"the role {role} may not see {what}; run {grant}" in str(error)
    assert (error.side, error.sqlstate, error.remedy) == (side, "42501", grant)
    problem = only_problem(check(pool, **limit))
    assert (problem.side, problem.remedy, problem.cause) == (side, grant, "failed")
    assert both.target.value("SELECT count(*) FROM profiles") == 0
    assert run(pool).outcome == "complete"  # without the option nothing is asked
    both[side].execute(grant)
    assert run(pool, **limit).outcome == "complete"
    both[side].execute(f"REVOKE pg_read_all_stats FROM {role}")


def test_a_server_that_does_not_track_its_sessions_is_told_so(both: Both) -> None:
    create_profiles(both.source, 20)
    create_profiles(both.target)
    both.source.execute(f"ALTER DATABASE {both.source.name} SET track_activities = off")
    with pytest.raises(DatabaseError, match="track_activities is off") as caught:
        copy(both.pool(), max_load=10)
    assert caught.value.remedy == "ALTER SYSTEM SET track_activities = on;"
