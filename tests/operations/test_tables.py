"""Many tables in one run: found by patterns, in shards of one ledger, in an order that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipecopy import (
    PlanReport,
    ShardedReport,
    TableCopy,
    TablesReport,
    copy_shard_of_tables,
    copy_tables,
    find_tables,
    plan_tables,
)
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import Event, ShardEnded, ShardStarted
from pipecopy.operations.shards.share import share
from pipecopy.postgres import PostgresPool
from pipecopy.shard import table_text
from tests.support.databases import Both
from tests.support.runs import CONFIG

MB = 2**20
_CREATE = "CREATE TABLE {0} (id bigserial PRIMARY KEY, data text);"
_FILL = "INSERT INTO {0} SELECT n, '{0}' FROM generate_series(1, {1}) n;"


def pools(both: Both, *names: str, **how: Any) -> list[TableCopy]:
    connections = {"source": both.source.uri, "target": both.target.uri}
    return [
        TableCopy(pool=PostgresPool(connections, table=name, **how), config=CONFIG)
        for name in names
    ]


def copy(tables: Sequence[TableCopy], **how: Any) -> ShardedReport:
    return copy_tables(CONFIG, tables, "source", "target", **{"jobs": 2, **how})


def plan(tables: Sequence[TableCopy], **how: Any) -> PlanReport:
    return plan_tables(CONFIG, tables, "source", "target", **{"jobs": 2, **how})


def find(both: Both, **what: Any) -> TablesReport:
    pool = PostgresPool({"source": both.source.uri, "target": both.target.uri})
    return find_tables(CONFIG, pool, "source", "target", **what)


def many(both: Both, count: int, rows: int) -> list[str]:
    """Make so many tables on both sides, with rows in the source."""
    names = [f"t{number:02}" for number in range(count)]
    both.source.execute("".join(f"{_CREATE} {_FILL}".format(name, rows) for name in names))
    both.target.execute("".join(map(_CREATE.format, names)))
    return names


def test_twenty_tables_at_once_one_of_which_fails(both: Both) -> None:
    names = many(both, 20, 30)
    both.target.execute("ALTER TABLE t07 ADD CONSTRAINT below_21 CHECK (id < 21)")
    tables = pools(both, *names)
    with pytest.raises(DatabaseError, match=r"shard 7 \(ids 0 to 30 of t07\)") as raised:
        copy(tables, jobs=4)
    failed: ShardedReport = raised.value.report
    assert [(each.table, each.shards) for each in failed.tables] == [(name, 1) for name in names]
    of_failed = failed.tables[7]
    assert (of_failed.done, of_failed.rows, of_failed.next_id) == (0, 20, 21)
    counts = [both.target.value(f"SELECT count(*) FROM {name}") for name in names]
    assert [each.rows for each in failed.tables] == counts
    assert failed.done < 20
    both.target.execute("ALTER TABLE t07 DROP CONSTRAINT below_21")
    went_on = copy(tables, jobs=4, run=failed.run_id)
    assert (went_on.done, went_on.rows, went_on.rows_before) == (20, 600, failed.rows)
    for what in ("count(*) FROM {}", "last_value FROM {}_id_seq"):
        assert {both.target.value(f"SELECT {what.format(name)}") for name in names} == {30}
    assert both.target.value("SELECT to_regclass('pipecopy_shards')") is None


def test_missing_tables_are_all_made_before_the_first_shard(both: Both) -> None:
    names = many(both, 3, 30)
    both.target.execute("DROP TABLE t00, t01, t02")
    there: list[Any] = []

    def look(event: Event) -> None:
        if isinstance(event, ShardStarted) and not there:
            there.append(both.target.value("SELECT count(*) FROM pg_class WHERE relname ~ '^t0.$'"))

    report = copy(pools(both, *names, create=True), jobs=1, observer=look)
    assert there == [3]
    assert report.rows == 90


def test_the_biggest_table_comes_first_and_has_the_most_shards(both: Both) -> None:
    names = many(both, 3, 30)
    both.source.execute("INSERT INTO t01 SELECT n, 'more' FROM generate_series(31, 3000) n")
    # the ids of a small table are far apart: they say nothing of its size
    both.source.execute("INSERT INTO t02 VALUES (1000000000, 'far')")
    begun: list[str | None] = []

    def note(event: Event) -> None:
        if isinstance(event, ShardStarted):
            begun.append(event.table)

    quick = replace(CONFIG, batch_size=1000)
    tables = [replace(table, config=quick) for table in pools(both, *names)]
    report = copy(tables, shards=8, jobs=1, observer=note)
    assert [(each.table, each.shards) for each in report.tables] == list(
        zip(names, (1, 6, 1), strict=True)
    )
    assert begun[:6] == ["t01"] * 6


def test_two_tables_are_not_copied_into_one_nor_one_left_out_of_its_run(both: Both) -> None:
    many(both, 2, 5)
    into_one = [*pools(both, "t00"), *pools(both, "t01", target_table="t00")]
    with pytest.raises(ConfigError, match=r"copied into public\.t00: name one$"):
        copy(into_one)
    planned = plan(pools(both, "t00", "t01"))
    with pytest.raises(ConfigError) as raised:
        copy(pools(both, "t01"), run=planned.run_id)
    assert str(raised.value) == (
        f"run {planned.run_id} also copies public.t00: name all of its tables"
    )


def test_shards_are_shared_by_size() -> None:
    assert share([100 * MB, 300 * MB, None], 4, 2) == [1, 2, 1]
    assert share([1, 1], 1, 2) == [1, 1]
    assert share([8, 8, 8], 9, 2) == [3, 3, 3]
    assert share([10 * MB, 64 * MB, 10_000 * MB, 0], None, 4) == [1, 1, 16, 1]
    assert share([1000 * MB], None, 4) == [16]
    assert share([40 * MB], None, 4) == [2]
    assert share([None, None], 16, 4) == [8, 8]


@pytest.mark.server
def test_a_table_is_copied_after_those_to_which_it_refers(both: Both) -> None:
    for database in (both.source, both.target):
        database.execute(
            "CREATE TABLE a_line (id int PRIMARY KEY, of int NOT NULL, data text);"
            "CREATE TABLE b_order (id int PRIMARY KEY, of int NOT NULL);"
            "CREATE TABLE c_user (id int PRIMARY KEY, best int)"
        )
    both.source.execute(
        "INSERT INTO c_user SELECT n FROM generate_series(1, 50) n;"
        "INSERT INTO b_order SELECT n, 51 - n FROM generate_series(1, 50) n;"
        "INSERT INTO a_line SELECT n, 51 - n, repeat('x', 9000) FROM generate_series(1, 50) n"
    )
    both.target.execute(
        "ALTER TABLE a_line ADD CONSTRAINT to_order FOREIGN KEY (of) REFERENCES b_order;"
        "ALTER TABLE b_order ADD CONSTRAINT to_user FOREIGN KEY (of) REFERENCES c_user;"
        "ALTER TABLE c_user ADD CONSTRAINT to_line FOREIGN KEY (best) REFERENCES a_line"
    )
    tables = pools(both, "a_line", "b_order", "c_user")
    planned = plan(tables, shards=6)
    to_order, to_user, to_line = sorted(planned.warnings)
    assert to_order == (
        "copy the shards of public.b_order before those of public.a_line: the foreign key to_order"
        " refers to it"
    )
    assert to_user == (
        "copy the shards of public.c_user before those of public.b_order: the foreign key to_user"
        " refers to it"
    )
    assert to_line == (
        "the foreign key to_line of public.c_user refers to public.a_line, which refers to it in"
        " turn: a row that comes before the one to which it refers is an error (23503); drop the"
        " key before the copy: ALTER TABLE public.c_user DROP CONSTRAINT to_line; and add it again"
        " after it"
    )
    assert table_text(planned.shards[0].table) == "public.c_user"
    events: list[tuple[type[Event], str | None]] = []
    report = copy(
        tables, run=planned.run_id, observer=lambda event: events.append((type(event), event.table))
    )
    assert report.rows == 150
    last_user = max(n for n, each in enumerate(events) if each == (ShardEnded, "c_user"))
    first_order = events.index((ShardStarted, "b_order"))
    assert last_user < first_order < events.index((ShardStarted, "a_line"))


def test_one_shard_of_many_tables_by_hand(both: Both) -> None:
    names = many(both, 2, 30)
    tables = pools(both, *names)
    planned = plan(tables)
    for shard in planned.shards:
        copied = copy_shard_of_tables(
            CONFIG, tables, "source", "target", run=planned.run_id, shard=shard.shard
        )
        assert (copied.table, copied.rows) == (names[shard.shard], 30)
    assert both.target.value("SELECT to_regclass('pipecopy_shards')") is None


def test_what_came_by_a_pattern_after_the_plan_is_left_out(both: Both) -> None:
    names = many(both, 2, 5)
    planned = plan(pools(both, "t00"))
    tables = pools(both, *names)
    with pytest.raises(ConfigError, match="was not planned for t01"):
        copy(tables, run=planned.run_id)
    by_pattern = [replace(table, if_planned=True) for table in tables]
    report = copy(by_pattern, run=planned.run_id)
    assert [each.table for each in report.tables] == ["t00"]


PATTERNS = """
CREATE SCHEMA sales; CREATE SCHEMA "Odd";
CREATE TABLE public.orders (id int PRIMARY KEY);
CREATE TABLE public.order_log (at timestamptz, no bigint PRIMARY KEY);
CREATE TABLE public."Orders" (id int PRIMARY KEY);
CREATE TABLE sales.orders (id int PRIMARY KEY);
CREATE TABLE sales.parts (id int NOT NULL UNIQUE) PARTITION BY RANGE (id);
CREATE TABLE sales.parts_1 PARTITION OF sales.parts FOR VALUES FROM (1) TO (9);
CREATE TABLE "Odd"."a.b*" (id smallint, big bigint NOT NULL UNIQUE, PRIMARY KEY (id, big));
CREATE VIEW sales.orders_view AS SELECT * FROM sales.orders;
CREATE TABLE public.pipecopy_shards (run text);
CREATE TABLE public.log$1 (id int PRIMARY KEY);
CREATE TABLE public.heir (PRIMARY KEY (id)) INHERITS (public.orders);
"""


@pytest.mark.server
def test_patterns_mean_what_psql_means_by_them(both: Both) -> None:
    both.source.execute(PATTERNS)
    cases = {
        "orders": ["public.orders"],
        "ORDER*": ["public.order_log", "public.orders"],
        "*.orders": ["public.orders", "sales.orders"],
        'public."Orders"': ['public."Orders"'],
        "sales.*": ["sales.orders", "sales.parts"],
        '"Odd"."a.b*"': ['"Odd"."a.b*"'],
        "public.log$1": ['public."log$1"'],
        "public.order?": ["public.orders"],
        "public.order(s|_log)": ["public.order_log", "public.orders"],
    }
    found = {
        pattern: [one.name for one in find(both, patterns=[pattern]).tables] for pattern in cases
    }
    assert found == cases
    left = find(
        both, tables=["order_log"], patterns=["public.*"], exclude_table=["*.order?", "log*"]
    )
    assert [(one.name, one.key) for one in left.tables] == [
        ("public.order_log", "no"),
        ('public."Orders"', "id"),
    ]
    assert [one.key for one in find(both, patterns=['"Odd".*']).tables] == ["big"]


@pytest.mark.server
def test_what_means_no_table_is_said_all_at_once(both: Both) -> None:
    both.source.execute("CREATE TABLE named (id int, data text); CREATE TABLE other (id text)")
    with pytest.raises(ConfigError) as raised:
        find(both, tables=["nowhere"], patterns=["publik.*", "x*"], exclude_table=["y*"])
    assert str(raised.value) == (
        "source source: there is no table nowhere; no table matches publik.*; no table matches x*"
        " (without a schema: on the search path of the role); no table to be left out matches y*"
        " (without a schema: on the search path of the role)"
    )
    with pytest.raises(ConfigError) as raised:
        find(both, tables=["named"], patterns=["public.*"])
    assert str(raised.value) == (
        "source source: 2 tables have no integer primary key, nor another integer column with a"
        " unique index and without NULL, to be copied by: public.named, public.other; leave them"
        " out (`exclude_table`), or copy each by itself with `key`"
    )
    assert [one.key for one in find(both, tables=["named"], key="id").tables] == ["id"]
    with pytest.raises(ConfigError, match=r"a\.b\.c is not a pattern such as orders_\*"):
        find(both, patterns=["a.b.c"])
