"""The source is live: only what still differs when it is read again counts."""

from __future__ import annotations

from pipecopy.postgres import PostgresPool
from tests.operations.live import LivePool
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.runs import found, verify


def test_a_row_that_is_equal_when_it_is_read_again_is_not_reported(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db, 100)
    source_db.execute("UPDATE profiles SET data = '1' WHERE id IN (50, 60)")
    target_db.execute("DELETE FROM profiles WHERE id = 70")
    catches_up = (
        "UPDATE profiles SET data = '1' WHERE id = 50; INSERT INTO profiles VALUES (70, '1')"
    )
    pool = LivePool(postgres_pool, "target", target_db.uri, catches_up)
    source_db.execute("UPDATE profiles SET data = '1' WHERE id = 70")
    assert found(verify(pool, batch_size=200)) == ((), (), (60,))


def test_a_row_that_differs_in_another_way_when_it_is_read_again_is_reported_so(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db, 100)
    target_db.execute("UPDATE profiles SET data = '1' WHERE id IN (50, 60)")
    deleted = "DELETE FROM profiles WHERE id = 50; UPDATE profiles SET data = '2' WHERE id = 61"
    pool = LivePool(postgres_pool, "source", source_db.uri, deleted)
    # 61 was equal at first: it may be on its way
    assert found(verify(pool, batch_size=200)) == ((), (50,), (60,))


def test_a_surplus_row_that_comes_to_the_source_is_not_removed(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db, 103)
    source_db.execute("DELETE FROM profiles WHERE id = 30")
    row = "INSERT INTO profiles VALUES (102, '\"late\"')"
    pool = LivePool(postgres_pool, "source", source_db.uri, row, lists=2)
    report = verify(pool, batch_size=200, repair=True, delete_surplus=True)
    assert found(report) == ((), (30, 101, 102, 103), ())
    assert (report.deleted, report.equal) == (3, False)
    assert target_db.query("SELECT id FROM profiles WHERE id IN (30, 101, 102, 103)") == [(102,)]
    assert verify(postgres_pool, batch_size=200, repair=True).repaired == 1
    assert_equal_tables(source_db, target_db)


def test_a_row_that_changes_after_its_repair_is_left(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, postgres_pool: PostgresPool
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db, 100)
    target_db.execute("UPDATE profiles SET data = '1' WHERE id IN (50, 60)")
    target_db.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.id = 60 THEN NEW.data = '2'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON profiles FOR EACH ROW"
        " EXECUTE FUNCTION spoil()"
    )
    report = verify(postgres_pool, batch_size=200, repair=True)
    assert found(report) == ((), (), (50, 60))
    assert (report.repaired, report.outcome, report.equal) == (1, "complete", False)
