"""Several tables in one run: shards by their rows, the biggest first, each finished once."""

from __future__ import annotations

from typing import Any

import pytest

from pipecopy import ShardedReport
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import Event, ShardStarted
from pipecopy.operations.plan import TableCopy
from pipecopy.operations.shards import How, copy_tables
from pipecopy.postgres import PostgresPool
from tests.support.databases import Both
from tests.support.runs import CONFIG

ROWS = {"few": 20, "many": 180, "none": 0}


def fill(both: Both, rows: dict[str, int] = ROWS) -> None:
    for name, count in rows.items():
        both.source.execute(
            f"CREATE TABLE {name} (id bigserial PRIMARY KEY, data text);"
            f" INSERT INTO {name} (data) SELECT 'x' FROM generate_series(1, {count});"
        )


def table_of(both: Both, name: str, **how: Any) -> TableCopy:
    pool = PostgresPool(
        {"source": both.source.uri, "target": both.target.uri}, table=name, create=True, **how
    )
    return TableCopy(pool=pool, config=CONFIG)


def copy(both: Both, names: tuple[str, ...] = tuple(ROWS), **how: Any) -> ShardedReport:
    tables = [table_of(both, name) for name in names]
    return copy_tables(CONFIG, tables, "source", "target", How(shards=12, jobs=2, **how))


def test_each_table_gets_shards_by_its_rows(both: Both) -> None:
    fill(both)
    seen: list[Event] = []
    report = copy(both, observer=seen.append)
    assert {t.table: (t.shards, t.done, t.rows) for t in report.tables} == {
        "few": (2, 2, 20),
        "many": (9, 9, 180),
        "none": (1, 1, 0),
    }
    assert (report.rows, report.shards, report.done, report.next_id) == (200, 12, 12, 0)
    for name, count in ROWS.items():
        assert both.target.value(f"SELECT count(*) FROM {name}") == count
        if count:
            assert both.target.value(f"SELECT last_value FROM {name}_id_seq") == count
    started = [event.table for event in seen if isinstance(event, ShardStarted)]
    assert (started[0], started[-1]) == ("many", "none")


def test_a_run_of_several_tables_goes_on_with_all_of_them(both: Both) -> None:
    fill(both)
    both.target.execute("CREATE TABLE few (id bigint PRIMARY KEY, data text CHECK (id <> 7))")
    with pytest.raises(DatabaseError) as failed:
        copy(both)
    assert " of few): target target: save_rows of ids [" in str(failed.value)
    run = failed.value.report.run_id
    both.target.execute("ALTER TABLE few DROP CONSTRAINT few_id_check")
    with pytest.raises(ConfigError) as raised:
        copy(both, ("few", "many"), run=run)
    assert str(raised.value) == f'run {run} also copies "public"."none": name all of its tables'
    assert copy(both, run=run).rows == 200


def test_two_tables_are_not_copied_into_one(both: Both) -> None:
    fill(both)
    tables = [table_of(both, "few"), table_of(both, "many", target_table="few")]
    with pytest.raises(ConfigError, match=r'copied into "public"\."few": name one$'):
        copy_tables(CONFIG, tables, "source", "target", How(shards=2, jobs=1))
