"""Texts of databases with different encodings, and of those that know of none."""

from __future__ import annotations

import pytest

from pipecopy.errors import DatabaseError
from tests.support.databases import Both, TemporaryDatabase, temporary_database
from tests.support.runs import copy, verify
from tests.support.servers import PostgresServer

pytestmark = pytest.mark.server

LATIN1_BYTES = r"convert_from('\xe9', 'SQL_ASCII')"
"""An é as LATIN1 has it, which is no UTF-8."""


def fill(database: TemporaryDatabase, before: str = "") -> None:
    database.execute(
        f"{before} CREATE TABLE profiles (id int PRIMARY KEY, note text, tags text[]);"
        "INSERT INTO profiles SELECT i, 'x' || i, '{a}' FROM generate_series(0, 50, 5) i;"
        f"INSERT INTO profiles VALUES (7, 'plain', ARRAY['b', {LATIN1_BYTES}]);"
        f"INSERT INTO profiles VALUES (12, {LATIN1_BYTES}, '{{}}')"
    )


def test_bytes_of_an_unknown_encoding_stay_as_they_are(
    pg16: PostgresServer, pg18: PostgresServer
) -> None:
    with (
        temporary_database(pg16, encoding="SQL_ASCII") as source,
        temporary_database(pg18, encoding="SQL_ASCII") as target,
    ):
        fill(source)
        values = "SELECT id, encode(note::bytea, 'hex'), encode(tags[2]::bytea, 'hex')"
        expected = source.query(f"{values} FROM profiles ORDER BY id")
        pool = Both(source, target).pool()
        # the binary format, then the text format, each directly and by the table in between
        for table in ("note text, tags text[]", "note varchar, tags varchar[]"):
            target.execute(f"CREATE TABLE profiles (id int PRIMARY KEY, {table})")
            for _ in range(2):
                assert copy(pool).rows == len(expected)
                assert target.query(f"{values} FROM profiles ORDER BY id") == expected
                assert verify(pool).equal
                target.execute("UPDATE profiles SET note = 'stale' WHERE id = 12")
            target.execute("DROP TABLE profiles")


@pytest.mark.parametrize("batch", ["small", "whole", "a view, sorted"])
def test_bytes_that_are_no_utf8_are_named_by_id_and_column(
    pg16: PostgresServer, target_db: TemporaryDatabase, batch: str
) -> None:
    with temporary_database(pg16, encoding="SQL_ASCII") as source:
        fill(source)
        if batch == "a view, sorted":
            source.execute(
                "ALTER TABLE profiles RENAME TO rows; CREATE VIEW profiles AS TABLE rows"
            )
        target_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, note text, tags text[])")
        both = Both(source, target_db)
        size = 2 if batch == "small" else 1000
        with pytest.raises(DatabaseError) as raised:
            copy(both.pool(), batch_size=size)
        said = str(raised.value)
        assert 'the column "tags" of the row with the id 7 can\'t be read: invalid byte' in said
        assert raised.value.sqlstate == "22021"
        assert "with the encoding SQL_ASCII too" in said
        assert "`exclude=['tags']`" in said
        with pytest.raises(DatabaseError, match='the column "note" of the row with the id 12'):
            copy(both.pool(exclude=["tags"]), batch_size=size)
        assert copy(both.pool(exclude=["tags"], where='"id" <> 12'), batch_size=size).rows == 12


def test_characters_that_the_target_lacks_are_named_by_id_and_column(
    source_db: TemporaryDatabase, pg18: PostgresServer
) -> None:
    source_db.execute(
        "CREATE TABLE profiles (id int PRIMARY KEY, note text);"
        "INSERT INTO profiles SELECT i, 'é' || i FROM generate_series(1, 20) i;"
        "UPDATE profiles SET note = '🙂' WHERE id = 7"
    )
    with temporary_database(pg18, encoding="LATIN1") as target:
        target.execute("CREATE TABLE profiles (id int PRIMARY KEY, note text)")
        both = Both(source_db, target)
        with pytest.raises(DatabaseError) as raised:
            copy(both.pool())
        said = str(raised.value)
        assert 'the column "note" of the row with the id 7 can\'t be saved: character with' in said
        assert raised.value.sqlstate == "22P05"
        assert "create the target database with the encoding UTF8 (it has LATIN1)" in said
        assert copy(both.pool(where='"id" <> 7')).rows == 19
        target.execute("ALTER TABLE profiles ALTER note TYPE varchar")  # so that rows go as text
        with pytest.raises(DatabaseError, match="row with the id 7 can't be saved"):
            copy(both.pool())
