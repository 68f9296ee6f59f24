"""Values arrive as they were, of every common type, under any name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipecopy.postgres.errors import PostgresError
from tests.support.databases import TemporaryDatabase, temporary_database
from tests.support.opened import copy, opened
from tests.support.profiles import TABLE, assert_equal_tables
from tests.support.servers import PostgresServer

AWKWARD = """
    INSERT INTO profiles (data) VALUES
        ('{"quotes": "it''s \\"so\\"", "backslash": "C:\\\\temp\\\\n"}'),
        ('"\\u0001\\u001f\\b\\f\\n\\r\\t"'),
        ('"🙂 Ω ü \\ud83d\\ude00"'),
        ('null'), (NULL), ('[]'), ('{}'), ('123456789012345678901234567890.10'), ('"\\\\N"'),
        (to_jsonb(repeat('ab"\\', 1310720)))
"""


def test_awkward_json_arrives(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE + ";" + AWKWARD)
    target_db.execute(TABLE)
    copy(source_db, target_db)
    assert target_db.value("SELECT count(*) FROM profiles") == 10
    assert target_db.value("SELECT max(length(data::text)) FROM profiles") > 5_000_000
    assert_equal_tables(source_db, target_db)


def test_awkward_json_is_read_as_its_text(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE + ";" + AWKWARD)
    expected = source_db.query("SELECT id, data::text FROM profiles ORDER BY id")
    with opened(source_db) as database:
        assert list(database.load_rows(0, 100)) == expected


WIDE = """
    CREATE TABLE profiles (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        flag boolean, small smallint, whole integer, real4 real, real8 double precision,
        exact numeric(20, 4), money_ money, name varchar(40), code char(3), body text,
        raw bytea, day date, clock time, moment timestamp, instant timestamptz, span interval,
        uid uuid, document json, tags text[],
        doubled bigint GENERATED ALWAYS AS (whole * 2) STORED
    )
"""
WIDE_ROWS = """
    INSERT INTO profiles (flag, small, whole, real4, real8, exact, money_, name, code, body, raw,
                          day, clock, moment, instant, span, uid, document, tags)
    SELECT i % 2 = 0, i, i, i / 3.0::real, i / 3.0, i / 7.0, i::numeric::money, 'n' || i, 'c',
           E'tab\\there \\\\ and\\nthere', decode(md5(i::text), 'hex'), date '2024-02-03' + i,
           time '12:34:56.789', timestamp '0044-03-15 12:00 BC' + i * interval '1 day',
           timestamptz '2024-02-03 04:05:06+07', i * interval '1 month 2 days 3.5 seconds',
           md5(i::text)::uuid, '{"b": 1,  "a": 1.00}', ARRAY['x', NULL, 'y "z"', '']
    FROM generate_series(1, 50) AS i;
    INSERT INTO profiles (flag, day, exact, real8)
    VALUES (NULL, 'infinity', 'NaN', '-infinity')
"""


def test_a_wide_table_arrives(source_db: TemporaryDatabase, target_db: TemporaryDatabase) -> None:
    source_db.execute(WIDE + ";" + WIDE_ROWS)
    target_db.execute(WIDE)
    copy(source_db, target_db, batch_size=20)
    assert_equal_tables(source_db, target_db)


def test_a_wide_table_is_updated(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute(WIDE + ";" + WIDE_ROWS)
    target_db.execute(WIDE)
    copy(source_db, target_db)
    source_db.execute("UPDATE profiles SET exact = 1.5, document = '{}' WHERE id % 3 = 0")
    target_db.execute("DELETE FROM profiles WHERE id % 5 = 0")
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


def test_the_order_of_columns_may_differ(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    source_db.execute("CREATE TABLE profiles (id bigint PRIMARY KEY, a text, b text)")
    source_db.execute("INSERT INTO profiles VALUES (1, 'of a', 'of b')")
    target_db.execute("CREATE TABLE profiles (b text, a text, id bigint PRIMARY KEY)")
    copy(source_db, target_db)
    target_db.execute("UPDATE profiles SET b = 'stale'")
    copy(source_db, target_db)
    assert target_db.query("SELECT id, a, b FROM profiles") == [(1, "of a", "of b")]


OWN_TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', 'a,b');
    CREATE TYPE pair AS (x int, y mood);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE profiles (
        id positive PRIMARY KEY, one mood, several mood[], duo pair, pairs pair[],
        amounts positive[], span int4range, spans int4multirange, kind regtype, note text
    )
"""
OWN_ROWS = """
    INSERT INTO profiles VALUES
        (1, 'sad', '{sad,"a,b"}', '(1,sad)', '{"(2,\\"a,b\\")"}', '{1,2}', '[1,5)',
         '{[1,2),[5,6)}', 'text', E'tab\\t nl\\n bs\\\\ cr\\r'),
        (2, NULL, '{}', NULL, NULL, NULL, 'empty', '{}', NULL, '\\N')
"""


@pytest.mark.parametrize("shift", [0, 7])
def test_types_whose_binary_form_holds_foreign_oids_arrive(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, shift: int
) -> None:
    source_db.execute(OWN_TYPES + ";" + OWN_ROWS)
    for number in range(shift):
        target_db.execute(f"CREATE TYPE other{number} AS ENUM ()")
    target_db.execute(OWN_TYPES)
    copy(source_db, target_db)
    target_db.execute("UPDATE profiles SET note = 'stale'")
    copy(source_db, target_db)
    assert_equal_tables(source_db, target_db)


def test_a_text_batch_is_read_as_its_values(source_db: TemporaryDatabase) -> None:
    source_db.execute(OWN_TYPES + ";" + OWN_ROWS)
    with opened(source_db) as database:
        rows = database.load_rows(0, 10)
    assert [row[0] for row in rows] == [1, 2]
    assert rows[0][1:3] == ("sad", '{sad,"a,b"}')
    assert [row[-1] for row in rows] == ["tab\t nl\n bs\\ cr\r", "\\N"]


def test_a_latin1_source_arrives(pg16: PostgresServer, target_db: TemporaryDatabase) -> None:
    with temporary_database(pg16, encoding="LATIN1") as source:
        source.execute("CREATE TABLE profiles (id bigserial PRIMARY KEY, data jsonb, note text)")
        source.execute("INSERT INTO profiles (data, note) VALUES ('\"Grüße é\"', 'señor ÿ')")
        target_db.execute("CREATE TABLE profiles (id bigserial PRIMARY KEY, data jsonb, note text)")
        copy(source, target_db)
    assert target_db.query("SELECT data::text, note FROM profiles") == [('"Grüße é"', "señor ÿ")]


def test_settings_of_the_database_change_no_value(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    # regtype makes the batch go by text, where a date's style matters
    table = "CREATE TABLE profiles (id int PRIMARY KEY, at timestamptz, day date, kind regtype)"
    source_db.execute(table)
    source_db.execute("INSERT INTO profiles VALUES (1, '2024-02-03 04:05+00', '2024-02-03', 'int')")
    target_db.execute(table)
    for database, style, zone in (
        (source_db, "SQL, DMY", "Asia/Tokyo"),
        (target_db, "SQL, MDY", "UTC"),
    ):
        database.execute(f"ALTER DATABASE {database.name} SET DateStyle = '{style}'")
        database.execute(f"ALTER DATABASE {database.name} SET TimeZone = '{zone}'")
    copy(source_db, target_db)
    seen = "SELECT extract(epoch FROM at)::bigint, day - date '2024-01-01' FROM profiles"
    assert target_db.query(seen) == source_db.query(seen) == [(1706933100, 33)]


@pytest.mark.parametrize(
    ("created", "asked"),
    [
        ("profiles", "profiles"),
        ("profiles", "Profiles"),
        ('"Profiles"', "Profiles"),
        ('"Profiles"', '"Profiles"'),
        ('"my table"', "my table"),
        ('"Größe 🙂"', "Größe 🙂"),
        ("größe", "größe"),
        ('"it""s"', '"it""s"'),
        ('"o\'hara\\\\"', "o'hara\\\\"),
        ("other.profiles", "other.profiles"),
        ('other."Dotted.Name"', 'other."Dotted.Name"'),
        ('"dotted.name"', "dotted.name"),
    ],
)
def test_a_table_of_any_name_is_found(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, created: str, asked: str
) -> None:
    for database in (source_db, target_db):
        database.execute("CREATE SCHEMA other")
        database.execute(f'CREATE TABLE {created} ("The ""Key" int PRIMARY KEY, "ünï cödé" text)')
    source_db.execute(f"INSERT INTO {created} VALUES (1, 'x')")
    copy(source_db, target_db, table=asked, key='The "Key')
    target_db.execute(f'UPDATE {created} SET "ünï cödé" = NULL')
    copy(source_db, target_db, table=asked, key='The "Key')
    assert target_db.query(f"SELECT * FROM {created}") == [(1, "x")]


def test_the_greatest_id_there_is(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(TABLE)
    source_db.execute("INSERT INTO profiles VALUES (0, '0'), (9223372036854775807, '1')")
    copy(source_db, target_db, batch_size=2**62)
    copy(source_db, target_db, batch_size=2**62)
    assert_equal_tables(source_db, target_db)


def test_an_empty_table_has_the_greatest_id_0(source_db: TemporaryDatabase) -> None:
    source_db.execute(TABLE)
    with opened(source_db) as database:
        assert database.get_max_id() == 0
        assert list(database.load_rows(0, 1)) == []


def test_rows_are_a_sequence(source_db: TemporaryDatabase) -> None:
    source_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, data text)")
    source_db.execute("INSERT INTO profiles SELECT i, 'v' || i FROM generate_series(1, 9) AS i")
    with opened(source_db) as database:
        rows = database.load_rows(2, 8)
    assert len(rows) == 6
    assert rows[0] == (2, "v2")
    assert rows[-1] == (7, "v7")
    assert rows[1:3] == [(3, "v3"), (4, "v4")]
    assert [row[0] for row in rows] == [2, 3, 4, 5, 6, 7]
    with pytest.raises(IndexError):
        rows[6]


def test_values_that_another_driver_could_get_wrong(source_db: TemporaryDatabase) -> None:
    source_db.execute(
        "CREATE TYPE mood AS ENUM ('sad');"
        "CREATE TABLE profiles (id int PRIMARY KEY, m mood, cash money);"
        "INSERT INTO profiles VALUES (1, 'sad', NULL), (2, NULL, 5)"
    )
    with opened(source_db) as database:
        rows = database.load_rows(0, 10)
    assert rows[0] == (1, "sad", None)
    with pytest.raises(ValueError, match="'cash'"):
        rows[1]


def test_intervals_are_read(target_db: TemporaryDatabase) -> None:
    days = 10**9
    values = ["1 day 2.5 seconds", "-3 days", "1 year 1 day", "infinity", f"{days} days"]
    target_db.execute("CREATE TABLE profiles (id int PRIMARY KEY, span interval)")
    for number, value in enumerate(values):
        target_db.execute("INSERT INTO profiles VALUES (%s, %s)", (number, value))
    with opened(target_db) as database:
        assert [row[1] for row in database.load_rows(0, 10)] == [
            timedelta(days=1, seconds=2.5),
            timedelta(days=-3),
            # what no timedelta is
            "1 year 1 day",
            "infinity",
            "1000000000 days",
        ]


INTERVALS = """
    CREATE DOMAIN age AS interval;
    CREATE TYPE pair AS (x int, y age);
    CREATE TYPE ages AS RANGE (subtype = interval);
    CREATE TABLE profiles (id int PRIMARY KEY, {name} {type})
"""


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("interval", "{}"),
        ("age", "{}"),
        ("interval[]", "{{{}}}"),
        ("pair", '(1,"{}")'),
        ("ages", "[1 day,{}]"),
        ("ages_multirange", "{{[1 day,{}]}}"),
    ],
)
def test_an_interval_of_17_is_no_other_one_before(
    pg16: PostgresServer, target_db: TemporaryDatabase, type_: str, value: str
) -> None:
    table = INTERVALS.replace("{name}", "span").replace("{type}", type_)
    with temporary_database(pg16) as old:
        for database in (old, target_db):
            database.execute(table)
        target_db.execute("INSERT INTO profiles VALUES (1, %s)", (value.format("infinity"),))
        with pytest.raises(PostgresError, match=r"can't be saved: .* type interval") as raised:
            copy(target_db, old)
        assert 'the column "span" of the row with the id 1' in str(raised.value)
        assert raised.value.sqlstate == "22007"  # invalid datetime format
        finite = value.format("2 years 3 days 04:05:06.5")
        target_db.execute("UPDATE profiles SET span = %s", (finite,))
        copy(target_db, old)
        assert_equal_tables(target_db, old)


def test_nulls_in_arrays_arrive_whatever_the_database_says(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):  # regtype makes the batch go by text
        database.execute("CREATE TABLE profiles (id int PRIMARY KEY, tags text[], kind regtype)")
    source_db.execute("INSERT INTO profiles VALUES (1, ARRAY['x', NULL, 'NULL'])")
    target_db.execute(f"ALTER DATABASE {target_db.name} SET array_nulls = off")
    copy(source_db, target_db)
    assert target_db.value("SELECT tags FROM profiles") == ["x", None, "NULL"]


def test_names_mean_the_same_on_both_sides(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(
            "CREATE SCHEMA one; CREATE SCHEMA two;"
            "CREATE TYPE one.mood AS ENUM (); CREATE TYPE two.mood AS ENUM ();"
            "CREATE FUNCTION public.by_default() RETURNS text LANGUAGE sql AS $$SELECT 'd'$$;"
            "CREATE TABLE profiles (id int PRIMARY KEY, kind regtype, kinds regclass[])"
        )
    source_db.execute(f"ALTER DATABASE {source_db.name} SET search_path = one, public")
    target_db.execute(f"ALTER DATABASE {target_db.name} SET search_path = two, public")
    # what the target itself writes finds its names as ever
    target_db.execute(
        "CREATE TABLE log (t text);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO log VALUES (by_default()); RETURN NEW; END$$;"
        "CREATE TRIGGER note AFTER INSERT ON profiles FOR EACH ROW EXECUTE FUNCTION note()"
    )
    source_db.execute("INSERT INTO profiles VALUES (1, 'one.mood', '{profiles}')")
    copy(source_db, target_db)
    kinds = "SELECT id, (SELECT typnamespace::regnamespace::text FROM pg_type WHERE oid = kind),"
    assert target_db.query(f"{kinds} kinds::text FROM profiles") == [(1, "one", "{profiles}")]
    assert target_db.value("SELECT t FROM log") == "d"


def test_a_batch_of_more_ids_than_there_are(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    for database in (source_db, target_db):
        database.execute(TABLE)
    source_db.execute("INSERT INTO profiles VALUES (5, '0'), (9223372036854775807, '1')")
    with opened(source_db, "source") as reader, opened(target_db, "target") as writer:
        assert reader.end_of_batch(0, 10**30, 10**30) == 10**30
        rows = reader.load_rows(0, 10**30)
        for _ in range(2):
            writer.save_rows(rows)
        assert list(reader.load_rows(2**63, 10**30)) == []
    assert_equal_tables(source_db, target_db)
