"""A row that a transaction commits after its batch was loaded: waited for, or warned of."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pipecopy.contracts import Session
from pipecopy.errors import FullCopyTimeoutError
from pipecopy.events import Event, Paused, RangeKnown, Resumed
from pipecopy.postgres import PostgresPool
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import copy
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server

NEXT = "SELECT nextval('profiles_id_seq')"
LATE = "INSERT INTO profiles VALUES (500, '\"late\"')"
MISSED = "rows with ids up to 600 may be missing in the target"


@pytest.fixture
def tables(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> TemporaryDatabase:
    """Fill the source up to id 499, and make the target."""
    create_profiles(source_db, 499)
    create_profiles(target_db)
    return source_db


@contextlib.contextmanager
def transaction(database: TemporaryDatabase, *sql: str, **how: Any) -> Iterator[psycopg.Connection]:
    """Open one; what it has not ended is rolled back."""
    with contextlib.closing(database.connect(**how)) as connection:
        for each in ("BEGIN", *sql):
            connection.execute(each)
        yield connection


def rows_after(database: TemporaryDatabase) -> None:
    """Commit rows with the next ids, up to 600."""
    database.execute(
        "INSERT INTO profiles (data) SELECT 'null' FROM generate_series(1, 600"
        " - (SELECT last_value FROM profiles_id_seq))"
    )


def only_warning(warnings: tuple[str, ...]) -> str:
    (warning,) = warnings
    return warning


@pytest.mark.parametrize("drawn", [NEXT, "INSERT INTO profiles (data) VALUES ('1')"])
def test_one_that_took_an_id_and_has_not_ended_is_named(
    tables: TemporaryDatabase, postgres_pool: PostgresPool, drawn: str
) -> None:
    with transaction(tables, drawn, application_name="orders") as late:
        rows_after(tables)
        report = copy(postgres_pool)
        late.execute("COMMIT")
        pid = late.info.backend_pid
    warning = only_warning(report.warnings)
    assert f"since 1 transaction (server session {pid} (postgres, orders), " in warning
    assert re.search(r", since 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\), open when the", warning)
    assert "had not ended when the first batch was loaded" in warning
    assert MISSED in warning
    assert "`verify_tables(repair=True)`" in warning
    assert "`settle`" in warning
    assert report.outcome == "complete"


def test_a_plain_role_is_told_of_others_that_it_may_not_see(
    tables: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    role = f"plain_{tables.name}"
    tables.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON profiles TO {role}")
    pool = PostgresPool(
        {"source": tables.server.uri(tables.name, user=role), "target": target_db.uri}
    )
    with transaction(tables, NEXT) as late:
        rows_after(tables)
        report = copy(pool)
        pid = late.info.backend_pid
    # it may not know since when
    assert f"(server session {pid} (postgres, tests)), open" in only_warning(report.warnings)
    tables.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_that_may_not_read_the_locks_is_warned(
    tables: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    role = f"plain_{tables.name}"
    tables.execute(
        f"CREATE ROLE {role} LOGIN; GRANT SELECT ON profiles TO {role};"
        " REVOKE SELECT ON pg_catalog.pg_locks FROM PUBLIC"
    )
    pool = PostgresPool(
        {"source": tables.server.uri(tables.name, user=role), "target": target_db.uri}
    )
    report = copy(pool)
    tables.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert "the role may not see which transactions are open" in only_warning(report.warnings)
    assert report.rows == 499


def _awaited(event: Paused) -> int:
    """Return how many transactions it waits for."""
    return int(event.detail.partition(" transaction")[0].rpartition(" ")[2])


class Committer:
    """An observer that ends a transaction once the copy waits for it."""

    def __init__(self, connection: psycopg.Connection[Any], *sql: str) -> None:
        self._connection = connection
        self._sql = sql
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Paused) and not event.seconds:
            for each in self._sql:
                self._connection.execute(each)

    @property
    def waits(self) -> list[tuple[int, bool]]:
        """For each event of the wait, how many were open, and whether it had waited."""
        return [
            (0 if isinstance(event, Resumed) else _awaited(event), event.seconds > 0)
            for event in self.events
            if isinstance(event, Paused | Resumed) and event.reason == "open transactions"
        ]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_with_settle_the_first_load_waits_for_its_end(
    tables: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    end: str,
) -> None:
    with transaction(tables, NEXT) as late:
        rows_after(tables)
        committer = Committer(late, LATE, end)
        report = copy(postgres_pool, settle=20, observer=committer)
    assert report.warnings == ()
    assert report.rows == (600 if end == "COMMIT" else 599)
    assert_equal_tables(tables, target_db)
    assert committer.waits == [(1, False), (0, True)]
    # the time of the wait is none of the copying
    kinds = [type(event) for event in committer.events]
    assert kinds.index(RangeKnown) > kinds.index(Resumed)


def test_without_settle_a_row_is_missed_and_the_warning_is_right(
    tables: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    with transaction(tables, NEXT) as late:
        rows_after(tables)
        report = copy(postgres_pool)
        late.execute(LATE)
        late.execute("COMMIT")
    assert MISSED in only_warning(report.warnings)
    assert target_db.query("SELECT id FROM profiles WHERE id = 500") == []
    assert copy(postgres_pool).warnings == ()
    assert_equal_tables(tables, target_db)


def test_one_that_outlasts_the_wait_is_warned_of(
    tables: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    with transaction(tables, NEXT), transaction(tables, NEXT) as short:
        rows_after(tables)
        committer = Committer(short, "ROLLBACK")
        report = copy(postgres_pool, settle=0.3, observer=committer)
    warning = only_warning(report.warnings)
    assert "since 1 transaction (" in warning
    assert "after a wait of 300 ms" in warning
    assert report.seconds >= 0.3
    assert committer.waits == [(2, False), (1, True), (0, True)]


def test_the_wait_ends_with_the_whole_copys_limit(
    tables: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    with transaction(tables, NEXT):
        rows_after(tables)
        with pytest.raises(FullCopyTimeoutError, match=r"it was paused: .* of 1 tr.* \(") as caught:
            copy(postgres_pool, settle=1000, full_copy_timeout=1.5)
    report = caught.value.report
    assert report is not None
    assert report.seconds < 1.75
    assert (report.kills, report.to_dict()["max_id"], report.to_dict()["next_id"]) == (0, 600, 0)


@pytest.fixture
def elsewhere(tables: TemporaryDatabase) -> Iterator[TemporaryDatabase]:
    with temporary_database(tables.server) as database:
        create_profiles(database)
        yield database


def test_a_quiet_night_has_no_warning(
    tables: TemporaryDatabase, elsewhere: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    tables.execute("CREATE TABLE orders (id bigserial)")
    with (
        transaction(tables, "SELECT count(*) FROM profiles"),
        transaction(tables, "INSERT INTO orders DEFAULT VALUES"),
        transaction(elsewhere, "INSERT INTO profiles (data) VALUES ('1')"),
    ):
        events: list[Event] = []
        report = copy(postgres_pool, settle=20, observer=events.append)
    assert report.warnings == ()
    assert not any(isinstance(event, Paused) for event in events)


@pytest.mark.parametrize(
    "sql",
    [
        # an id from elsewhere
        "ALTER TABLE profiles ALTER id DROP DEFAULT; DROP SEQUENCE profiles_id_seq",
        # the table behind it is not known
        "ALTER TABLE profiles RENAME TO behind; CREATE VIEW profiles AS SELECT * FROM behind",
    ],
)
def test_where_no_sequence_is_known_every_transaction_of_the_database_counts(
    tables: TemporaryDatabase, elsewhere: TemporaryDatabase, postgres_pool: PostgresPool, sql: str
) -> None:
    tables.execute(sql)
    with transaction(tables, "SELECT 1") as idle, transaction(elsewhere, "SELECT 1"):
        report = copy(postgres_pool)
        assert f"since 1 transaction (server session {idle.info.backend_pid} (" in only_warning(
            report.warnings
        )


@pytest.mark.parametrize(
    ("make", "drawn"),
    [
        pytest.param(
            "CREATE TABLE profiles"
            " (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, data jsonb)",
            "INSERT INTO profiles (data) VALUES ('1')",
            id="identity",
        ),
        pytest.param(
            "CREATE SEQUENCE own; CREATE TABLE profiles (id bigint PRIMARY KEY, data jsonb);"
            " ALTER SEQUENCE own OWNED BY profiles.id",
            "SELECT nextval('own')",
            id="owned, without a default",
        ),
        pytest.param(
            "CREATE SEQUENCE own; CREATE TABLE profiles"
            " (id bigint PRIMARY KEY DEFAULT nextval('own') * 10 + 3, data jsonb)",
            "SELECT nextval('own')",
            id="in an expression",
        ),
        pytest.param(
            "CREATE SEQUENCE own; CREATE SEQUENCE second; CREATE TABLE profiles"
            " (id bigint PRIMARY KEY DEFAULT nextval('own'), data jsonb) PARTITION BY RANGE (id);"
            " CREATE TABLE part PARTITION OF profiles (id DEFAULT nextval('second')) DEFAULT",
            "SELECT nextval('second')",
            id="a partition's own",
        ),
        pytest.param(
            "CREATE SEQUENCE own; CREATE TABLE profiles"
            " (id bigint PRIMARY KEY DEFAULT nextval('own'), data jsonb) PARTITION BY RANGE (id);"
            " CREATE TABLE part PARTITION OF profiles DEFAULT",
            "INSERT INTO part VALUES (77, '1')",
            id="an id given by hand, to a partition",
        ),
        pytest.param(
            "CREATE SEQUENCE own; CREATE SEQUENCE second; CREATE TABLE above"
            " (id bigint PRIMARY KEY DEFAULT nextval('own'), data jsonb) PARTITION BY RANGE (id);"
            " CREATE TABLE profiles PARTITION OF above (id DEFAULT nextval('second')) DEFAULT",
            "SELECT nextval('own')",
            id="that of the table whose partition is copied",
        ),
    ],
)
def test_each_kind_of_sequence_behind_the_key_is_watched(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    make: str,
    drawn: str,
) -> None:
    source_db.execute(make)
    source_db.execute(
        "INSERT INTO profiles (id, data) OVERRIDING SYSTEM VALUE SELECT 600, 'null';"
        " CREATE TABLE others (id int)"
    )
    create_profiles(target_db)
    with transaction(source_db, drawn) as late, transaction(source_db, "SELECT * FROM others"):
        report = copy(postgres_pool)
        assert f"1 transaction (server session {late.info.backend_pid} (" in only_warning(
            report.warnings
        )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("CACHE 20", "gives each session 20 ids at a time (CACHE 20)"),
        ("INCREMENT -1 MAXVALUE 5000 START 5000", "counts down (INCREMENT BY -1)"),
        ("CYCLE", "starts over at its end (CYCLE)"),
    ],
)
def test_a_sequence_that_gives_low_ids_later_is_a_warning_of_its_own(
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    postgres_pool: PostgresPool,
    options: str,
    says: str,
) -> None:
    source_db.execute(
        f'CREATE SEQUENCE "Q" {options}; CREATE TABLE profiles'
        """ (id bigint PRIMARY KEY DEFAULT nextval('"Q"'), data jsonb)"""
    )
    create_profiles(target_db)
    warning = only_warning(copy(postgres_pool).warnings)
    assert f'the sequence "public"."Q" behind the key "id" {says}: ' in warning
    # the target's sequence does no harm
    other_way = copy(PostgresPool({"source": target_db.uri, "target": source_db.uri}))
    assert not any(says in warning for warning in other_way.warnings)


def test_the_functions_of_a_hostile_search_path_are_not_called(
    tables: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    tables.execute(
        "CREATE FUNCTION public.ge(oid, oid) RETURNS bool IMMUTABLE LANGUAGE sql AS 'select false';"
        " CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.ge);"
        " CREATE VIEW public.pg_locks AS SELECT * FROM pg_catalog.pg_locks WHERE false;"
        f" ALTER DATABASE {tables.name} SET search_path = public, pg_catalog"
    )
    with transaction(tables, NEXT):
        rows_after(tables)
        report = copy(postgres_pool)
    assert MISSED in only_warning(report.warnings)


@pytest.mark.timeout(60)
def test_a_prepared_transaction_is_the_one_that_it_was() -> None:
    settings = {"max_prepared_transactions": "5", "fsync": "off", "shared_buffers": "32MB"}
    with (
        PostgresServer(16, settings) as server,
        temporary_database(server) as source,
    ):
        create_profiles(source, 499)
        pool = PostgresPool(table="profiles").for_session(
            Session(run_id="0" * 12, side="source", call_timeout=20)
        )
        with contextlib.closing(pool.connect(source.uri)) as database:
            with transaction(source, NEXT) as late:
                (before,) = as_list(database.open_transactions())
                late.execute(LATE)
                late.execute("PREPARE TRANSACTION 'in two steps'")
            (after,) = as_list(database.open_transactions([before["id"]]))
            assert "prepared transaction 'in two steps' (postgres)" in after["who"]
            assert after["since"] is not None
            server.restart()
            (restarted,) = as_list(database.open_transactions([after["id"]]))
            source.execute("COMMIT PREPARED 'in two steps'")
            assert database.open_transactions([restarted["id"]]) == []


def as_list(found: Any) -> list[dict[str, Any]]:
    assert isinstance(found, list)
    return found
