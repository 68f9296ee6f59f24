"""copy_sharded: a table is copied in ranges of ids, several at once, by any engine."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from pipecopy import ShardedReport, copy_sharded
from pipecopy.errors import DatabaseError
from pipecopy.postgres import PostgresPool
from tests.support.checks import Tables
from tests.support.databases import Both
from tests.support.runs import CONFIG

COUNT = "SELECT count(*) FROM profiles"
ALL = "SELECT array_agg(p::text ORDER BY id) FROM profiles p"
LEDGER = "SELECT to_regclass('pipecopy_shards')"


def copy(pool: PostgresPool, **how: Any) -> ShardedReport:
    return copy_sharded(CONFIG, pool, "source", "target", **{"shards": 5, "jobs": 2, **how})


def test_all_rows_are_copied_once_and_the_ledger_is_gone(
    tables: Tables, postgres_pool: PostgresPool
) -> None:
    report = copy(postgres_pool)
    assert tables.target.value(ALL) == tables.source.value(ALL)
    assert (report.shards, report.done, report.rows) == (5, 5, 50)
    assert tables.target.value(LEDGER) is None


@pytest.mark.parametrize("engine", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_is_an_engine(
    tables: Tables, postgres_pool: PostgresPool, engine: Any
) -> None:
    with engine(2) as executor:
        report = copy(postgres_pool, executor=executor)
    assert report.done == report.shards == 5
    assert tables.target.value(COUNT) == 50


def test_a_run_goes_on_with_what_is_not_done(both: Both, tables: Tables) -> None:
    tables.target.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF NEW.id = 33 THEN RAISE 'not this one'; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    pool = PostgresPool({"source": both.source.uri, "target": both.target.uri})
    with pytest.raises(DatabaseError, match="not this one") as raised:
        copy(pool, jobs=1)
    before: ShardedReport = raised.value.report
    assert before.done < 5
    assert before.rows == tables.target.value(COUNT)
    tables.target.execute("DROP TRIGGER refuse ON profiles")
    report = copy(pool, run=before.run_id)
    assert (report.run_id, report.done, report.rows) == (before.run_id, 5, 50)
    assert tables.target.value(COUNT) == 50
    assert tables.target.value(LEDGER) is None
