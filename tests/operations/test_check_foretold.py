"""What a check says that a copy would do, and what the copy then does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from pipecopy.report import CheckPlan, CheckReport
from tests.support.databases import Both
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import check, copy, next_transaction, warnings

NO_INDEX = "DROP TABLE profiles; CREATE TABLE profiles (id bigint, data jsonb)"
ROWS = "INSERT INTO profiles SELECT i * 3, NULL FROM generate_series(1, 800) AS i"
ROWS_ABOVE = "INSERT INTO profiles VALUES (7777, NULL)"
ABOVE = "SELECT FROM profiles WHERE id = 7777"
MAY_DROP = """
    CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER passes BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION pass()
"""


def planned(report: CheckReport) -> CheckPlan:
    assert report.plan is not None
    return report.plan


def statements(both: Both, run_id: str) -> list[str]:
    """Return what the copy sent to the target, as its server's log has it."""
    return [line for line in both.target.server.log.splitlines() if f"/{run_id}/" in line]


def saved_by(both: Both, run_id: str) -> set[str]:
    """Return the methods by which a copy saved."""
    log = statements(both, run_id)
    found = {
        "upsert": any("ON CONFLICT" in line for line in log),
        "replace": any("DELETE FROM pg_temp.pipecopy_batch" in line for line in log),
        "direct": any('COPY "public"."profiles"' in line for line in log),
    }
    return {method for method, there in found.items() if there}


def assert_goes_as_foretold(both: Both, method: str, form: str = "binary") -> CheckPlan:
    """Check, copy, and compare."""
    both.target.execute(f"ALTER DATABASE {both.target.name} SET log_statement = 'all'")
    report = check(both.pool(), batch_size=300)
    plan = planned(report)
    assert report.can_start, report.problems
    copied = copy(both.pool(), batch_size=300)
    assert (plan.rows, plan.batches) == (copied.rows, copied.batches) == (800, 3)
    assert (plan.first_id, plan.max_id) == (copied.first_id, copied.max_id) == (0, 2400)
    assert plan.bytes == pytest.approx(copied.bytes, rel=0.1)
    assert (plan.method, plan.format) == (method, form)
    assert any(f"FROM STDIN (FORMAT {form})" in line for line in statements(both, copied.run_id))
    # below a key that is there already, the first batch shows which one is next
    begins = {"upsert"} if both.target.value(f"SELECT EXISTS ({ABOVE})") else set()
    assert saved_by(both, copied.run_id) == {method} | begins
    return plan


@pytest.mark.parametrize(
    ("on_target", "method"),
    [
        (ROWS_ABOVE, "direct"),
        (ROWS, "upsert"),
        (MAY_DROP, "upsert"),
        (f"{NO_INDEX}; {ROWS}", "replace"),
    ],
    ids=["rows above", "rows", "trigger", "no index, rows"],
)
def test_the_method_is_foretold(both: Both, on_target: str, method: str) -> None:
    create_profiles(both.source, 800, step=3)
    create_profiles(both.target)
    both.target.execute(on_target)
    assert_goes_as_foretold(both, method)


def test_a_copy_to_an_older_server_is_foretold(other_way: Both) -> None:
    create_profiles(other_way.source, 800, step=3)
    create_profiles(other_way.target)
    assert_goes_as_foretold(other_way, "direct")


@pytest.mark.parametrize(
    ("of_source", "of_target", "why"),
    [("tsquery", "tsquery", '"data" \\(tsquery\\)'), ("integer", "text", 'types of "data"')],
    ids=["a type's binary form", "types that differ"],
)
def test_the_text_format_is_foretold_and_why(
    both: Both, of_source: str, of_target: str, why: str
) -> None:
    both.source.execute(f"CREATE TABLE profiles (id bigint PRIMARY KEY, data {of_source})")
    both.target.execute(f"CREATE TABLE profiles (id bigint PRIMARY KEY, data {of_target})")
    both.source.execute("INSERT INTO profiles SELECT i * 3 FROM generate_series(1, 800) AS i")
    plan = assert_goes_as_foretold(both, "direct", "text")
    assert re.search(why, plan.format_reason or "")


def test_nothing_is_written_and_nobody_is_kept_waiting(both: Both) -> None:
    create_profiles(both.source, 100)
    both.target.execute("CREATE TABLE other (id bigint)")
    before = [next_transaction(database) for database in (both.source, both.target)]
    with both.source.connect() as user:
        user.execute("BEGIN; UPDATE profiles SET data = NULL WHERE id = 1")
        before[0] += 1  # its own
        report = check(both.pool(create=True))
        user.execute("COMMIT")
    assert report.can_start
    assert [next_transaction(database) for database in (both.source, both.target)] == before
    assert both.target.value("SELECT to_regclass('profiles')::text") is None


def test_a_big_table_is_estimated(both: Both) -> None:
    create_profiles(both.source)
    create_profiles(both.target)
    both.source.execute(
        "INSERT INTO profiles SELECT i, jsonb_build_object('text', repeat('x', 400))"
        " FROM generate_series(1, 60000) AS i"
    )  # 28 MB: it is not counted
    both.source.execute("ANALYZE profiles")
    whole = planned(check(both.pool()))
    assert whole.rows == pytest.approx(60_000, rel=0.1)
    part = planned(check(both.pool(), from_id=15_001, to_id=30_000, batch_size=1000))
    assert (part.first_id, part.max_id) == (15_001, 30_000)
    assert part.rows == pytest.approx(15_000, rel=0.1)
    assert part.batches == pytest.approx(15, abs=2)
    filtered = planned(check(both.pool(where="id % 2 = 0 OR id <= 30000")))
    assert filtered.rows is not None
    assert 25_000 < filtered.rows < 50_000
    # what a binary COPY has of a row: numbers of four bytes before the values, and two at first
    travels = both.source.value("SELECT sum(19 + octet_length(data::text)) FROM profiles")
    assert whole.bytes == pytest.approx(int(travels), rel=0.1)


def test_rows_that_grow_and_are_compressed_are_counted_as_they_travel(both: Both) -> None:
    for database in (both.source, both.target):
        database.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, data text)")
    both.source.execute(
        "INSERT INTO profiles SELECT i, repeat('abc', 20 * i) FROM generate_series(1, 600) AS i"
    )
    plan = planned(check(both.pool(), max_batch_bytes=1_000_000))
    copied = copy(both.pool(), max_batch_bytes=1_000_000)
    assert plan.bytes == pytest.approx(copied.bytes, rel=0.1)
    assert plan.batches is not None
    assert plan.batches <= copied.batches <= 1.3 * plan.batches


def test_the_rows_of_partitions_are_summed(both: Both) -> None:
    both.source.execute(
        "CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb) PARTITION BY RANGE (id);"
        " CREATE TABLE one PARTITION OF profiles FOR VALUES FROM (0) TO (100);"
        " CREATE TABLE two PARTITION OF profiles FOR VALUES FROM (100) TO (500);"
        " INSERT INTO profiles SELECT i FROM generate_series(1, 250) i"
    )
    create_profiles(both.target)
    report = check(both.pool())
    assert planned(report).rows == 250
    (table,) = [item for item in report.items if (item.side, item.what) == ("source", "table")]
    assert "2 partitions" in table.message


def test_a_resumed_copy_is_foretold(both: Both) -> None:
    create_profiles(both.source, 1000)
    create_profiles(both.target, 400)
    fresh = planned(check(both.pool(), batch_size=100))
    assert (fresh.first_id, fresh.resume_id, fresh.method) == (0, None, "upsert")
    resumed = planned(check(both.pool(), batch_size=100, resume=True))
    assert (resumed.first_id, resumed.rows, resumed.batches) == (400, 601, 7)
    assert resumed.resume_id == 400
    assert resumed.method == "direct"
    copied = copy(both.pool(), batch_size=100, resume=True)
    assert (copied.first_id, copied.rows, copied.batches) == (400, 601, 7)


def test_a_table_that_would_be_made_is_shown_and_then_made(both: Both) -> None:
    create_profiles(both.source, 300)
    report = check(both.pool(create=True))
    assert report.can_start
    (made,) = [item for item in report.items if item.what == "create"]
    assert (made.side, made.mark) == ("target", "ok")
    assert 'CREATE TABLE "public"."profiles" ("id" bigint' in made.message
    assert planned(report).method == "direct"
    copy(both.pool(create=True))
    assert_equal_tables(both.source, both.target)


def test_an_empty_table_can_be_copied_and_the_latest_end_is_said(both: Both) -> None:
    create_profiles(both.source)
    create_profiles(both.target)
    before = datetime.now(UTC)
    report = check(both.pool(), full_copy_timeout=7200)
    plan, after = planned(report), datetime.now(UTC)
    assert (report.can_start, warnings(report)) == (True, [])
    assert (plan.rows, plan.batches) == (0, 0)
    ends = datetime.fromisoformat(plan.ends_before)
    hours, second = timedelta(hours=2), timedelta(seconds=1)
    assert before + hours - second <= ends <= after + hours
    assert ends.utcoffset() == ends.astimezone().utcoffset()


@pytest.mark.parametrize("partitions", [0, 2])
def test_the_rows_of_a_table_that_was_never_analyzed_follow_from_its_pages(
    both: Both, partitions: int
) -> None:
    # a value takes 2 bytes there, and 6 as it travels
    columns = ", ".join(f"c{number} smallint DEFAULT 0" for number in range(80))
    create = f"CREATE TABLE profiles (id bigint PRIMARY KEY, {columns})"
    both.target.execute(create)
    both.source.execute(f"{create} PARTITION BY RANGE (id)" if partitions else create)
    for number in range(partitions):
        both.source.execute(
            f"CREATE TABLE part{number} PARTITION OF profiles"
            f" FOR VALUES FROM ({number * 60_000}) TO ({(number + 1) * 60_000})"
        )
    for table in [f"part{number}" for number in range(partitions)] or ["profiles"]:
        # autovacuum may come in between
        both.source.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    both.source.execute("INSERT INTO profiles SELECT generate_series(1, 90000)")  # 18 MB
    plan = planned(check(both.pool()))
    assert plan.rows == pytest.approx(90_000, rel=0.05)
    assert plan.batches == pytest.approx(9_000, rel=0.05)
