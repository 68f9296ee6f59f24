"""`analyze`: after the last batch the target gathers the statistics of its table anew."""

from __future__ import annotations

import threading

import pytest

from pipecopy.errors import PipecopyError
from pipecopy.events import CallStarted, Event
from tests.support.databases import Both, TemporaryDatabase
from tests.support.profiles import create_profiles
from tests.support.runs import check, copy, warnings

pytestmark = pytest.mark.server

PARTS = """
    CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF profiles FOR VALUES FROM (0) TO (21);
    CREATE TABLE high PARTITION OF profiles FOR VALUES FROM (21) TO (100);
"""


def rows_known(database: TemporaryDatabase) -> dict[str, float]:
    """Return the rows that the planner takes each table to have; -1 if it was never told."""
    return dict(
        database.query(
            "SELECT relname::text, reltuples FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relnamespace = 'public'::regnamespace"
        )
    )


@pytest.mark.parametrize(
    ("target", "known"),
    [
        ("CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb)", {"profiles": 50}),
        (PARTS, {"profiles": 50, "low": 20, "high": 30}),
    ],
)
def test_the_statistics_are_of_the_copied_rows(
    target: str, known: dict[str, float], both: Both
) -> None:
    create_profiles(both.source, 50)
    both.target.execute(target)
    assert copy(both.pool()).warnings == ()
    assert set(rows_known(both.target).values()) == {-1}
    assert copy(both.pool(analyze=True)).warnings == ()
    assert rows_known(both.target) == known


@pytest.mark.parametrize("way", ["both", "other_way"])
def test_a_role_that_may_not_is_told_what_helps(
    way: str, role: str, both: Both, other_way: Both
) -> None:
    databases = {"both": both, "other_way": other_way}[way]
    create_profiles(databases.source, 50)
    databases.target.execute(
        f"{PARTS} GRANT SELECT, INSERT, UPDATE ON profiles TO {role};"
        f"GRANT TEMP ON DATABASE {databases.target.name} TO {role}"
    )
    pool = databases.pool(users={"target": role}, analyze=True)
    (foretold,) = warnings(check(pool))
    report = copy(pool)
    names = "public.high, public.low, public.profiles"
    assert report.warnings == (f"target target: {foretold}",)
    assert foretold.message == f"the role {role} may not analyze {names}"
    if way == "both":
        assert foretold.remedy == f'GRANT MAINTAIN ON {names} TO "{role}";'
        databases.target.execute(foretold.remedy)
    else:
        assert foretold.remedy == f"have the owner, postgres, run ANALYZE {names};"
        databases.target.execute(
            f"ALTER TABLE profiles OWNER TO {role}; ALTER TABLE low OWNER TO {role};"
            f"ALTER TABLE high OWNER TO {role}"
        )
    (item,) = (item for item in check(pool).items if item.what == "analyze")
    assert item.mark == "ok"
    assert copy(pool).warnings == ()
    assert rows_known(databases.target) == {"profiles": 50, "low": 20, "high": 30}


def test_a_lock_in_the_way_is_a_warning(both: Both) -> None:
    create_profiles(both.source, 50)
    create_profiles(both.target)
    with both.target.connect(application_name="vacuum") as other:
        other.execute("BEGIN; LOCK TABLE profiles IN SHARE UPDATE EXCLUSIVE MODE")  # as VACUUM has
        report = copy(both.pool(analyze=True), call_timeout=1)
    assert (report.outcome, report.rows, report.next_id) == ("complete", 50, 51)
    (said,) = report.warnings
    assert said.startswith("target target: analyze timed out on its only attempt: ")


def test_a_stop_while_a_lock_is_in_the_way_leaves_a_complete_copy(both: Both) -> None:
    create_profiles(both.source, 50)
    create_profiles(both.target)
    stop = threading.Event()

    def observer(event: Event) -> None:
        if isinstance(event, CallStarted) and event.where.call == "analyze":
            stop.set()

    with both.target.connect(application_name="vacuum") as other:
        other.execute("BEGIN; LOCK TABLE profiles IN SHARE UPDATE EXCLUSIVE MODE")
        report = copy(
            both.pool(analyze=True), call_timeout=10, grace=0.3, stop=stop, observer=observer
        )
    assert (report.outcome, report.rows, report.next_id) == ("complete", 50, 51)
    said = "target target: the table was not analyzed, since the run was asked to stop"
    assert report.warnings == (said,)


def test_a_copy_that_fails_does_not_analyze(both: Both) -> None:
    create_profiles(both.source, 50)
    create_profiles(both.target)
    both.target.execute("ALTER TABLE profiles ADD CHECK (id < 30)")
    events: list[Event] = []
    with pytest.raises(PipecopyError, match="check constraint"):
        copy(both.pool(analyze=True), observer=events.append)
    calls = [event.where.call for event in events if isinstance(event, CallStarted)]
    assert "save_rows" in calls
    assert "analyze" not in calls
