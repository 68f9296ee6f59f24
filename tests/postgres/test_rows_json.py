"""The JSON of a source in another driver arrives as what it was, or is refused by name."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import traceback
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pg8000.native
import psycopg
import psycopg2
import psycopg2.extras
import pytest

from pipecopy.contracts import TableChangedError
from pipecopy.errors import ConfigError
from pipecopy.postgres import PostgresError, PostgresPool
from tests.support.databases import TemporaryDatabase
from tests.support.opened import opened

Rows = Sequence[Sequence[Any]]
Read = Callable[[TemporaryDatabase, str], Rows]


def psycopg2_rows(
    database: TemporaryDatabase, query: str, loads: Callable[[str], Any] = json.loads
) -> Rows:
    with contextlib.closing(psycopg2.connect(database.uri)) as connection:
        psycopg2.extras.register_default_json(connection, loads=loads)
        psycopg2.extras.register_default_jsonb(connection, loads=loads)
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


def pg8000_rows(database: TemporaryDatabase, query: str) -> Rows:
    server = database.server
    connection = pg8000.native.Connection("postgres", server.host, database.name, server.port)
    with contextlib.closing(connection):
        rows: Rows = connection.run(query)
        return rows


def psycopg_rows(database: TemporaryDatabase, query: str) -> Rows:
    return database.query(query)


def own_rows(database: TemporaryDatabase, query: str) -> Rows:
    """Return what one sees who looks into the rows of pipecopy's own driver."""
    database.execute(f"CREATE VIEW own AS {query}")
    with opened(database, table="own") as reader:
        return [tuple(row) for row in reader.load_rows(0, 1000)]


def _text(value: str) -> str:
    return value


DECODING: dict[str, Read] = {
    "psycopg2": psycopg2_rows,
    "pg8000": pg8000_rows,
    "psycopg": psycopg_rows,
}
GIVING_TEXT: dict[str, Read] = {
    "psycopg2": functools.partial(psycopg2_rows, loads=_text),
    "pipecopy": own_rows,
}
decoding = pytest.mark.parametrize("read", DECODING.values(), ids=DECODING)
giving_text = pytest.mark.parametrize("read", GIVING_TEXT.values(), ids=GIVING_TEXT)

VALUES = (
    '"123"', '"null"', '"true"', '"{}"', '"[1]"', '"FIRST"', '""', r'"\""', r'"tab\t \\ \\N é 🙂"',
    "123", "-1.5", "true", "false", "[]", "{}", '["1", null, [2, {"n": "null"}], 0.5]',
    '{"a": {"b": [null, "x y", 12345678901234567890123]}}',
)  # fmt: skip
"""The first ones are the strings that look like other JSON."""
BEYOND_PYTHON = ("null", "1.10", "0.1234567890123456789", "12345678901234567890123.5", "1e400")
"""As decoded they are None, or a float that is not the same number."""

TYPES = """
    CREATE DOMAIN document AS jsonb CHECK (jsonb_typeof(VALUE) <> 'boolean');
    CREATE DOMAIN documents AS jsonb[];
    CREATE TYPE pair AS (n int, j jsonb);
    CREATE TYPE span AS RANGE (subtype = jsonb, multirange_type_name = spans);
"""


def _create(columns: str, *databases: TemporaryDatabase) -> None:
    for database in databases:
        database.execute(f"{TYPES} CREATE TABLE profiles (id int PRIMARY KEY, {columns})")


def _save(target: TemporaryDatabase, rows: Rows, how: str | None = None) -> None:
    with opened(target, "target", json=how) as database:
        database.save_rows(rows)


def _texts(database: TemporaryDatabase) -> list[tuple[Any, ...]]:
    return database.query("SELECT id, p::text FROM profiles p ORDER BY id")


def _fill(source: TemporaryDatabase, values: Sequence[str | None]) -> None:
    with source.connect() as connection:
        for number, value in enumerate(values, 1):
            connection.execute(
                "INSERT INTO profiles VALUES (%s, %s::text::jsonb, %s::text::json)",
                (number, value, value),
            )


@decoding
def test_decoded_json_is_what_it_was(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read: Read
) -> None:
    _create("b jsonb, j json", source_db, target_db)
    _fill(source_db, [*VALUES, None])
    _save(target_db, read(source_db, "SELECT * FROM profiles"), "decoded")
    columns = "SELECT id, b, b::text, j::jsonb::text FROM profiles ORDER BY id"
    assert target_db.query(columns) == source_db.query(columns)


@giving_text
def test_json_as_text_is_what_it_was(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read: Read
) -> None:
    _create("b jsonb, j json", source_db, target_db)
    _fill(source_db, [*VALUES, *BEYOND_PYTHON, '{"a": 1,  "a":2}', None])
    _save(target_db, read(source_db, "SELECT * FROM profiles"), "text")
    assert _texts(target_db) == _texts(source_db)


@decoding
def test_any_driver_gives_text_where_it_is_asked_for(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read: Read
) -> None:
    _create("b jsonb, a jsonb[]", source_db, target_db)
    source_db.execute(
        "INSERT INTO profiles SELECT n, j::jsonb, ARRAY[[j, 'null'], ['[1]', NULL]]::jsonb[]"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS v (j, n)",
        [[*VALUES, *BEYOND_PYTHON]],
    )
    _save(target_db, read(source_db, "SELECT id, b::text, a::text FROM profiles"), "text")
    assert _texts(target_db) == _texts(source_db)


ARRAY = """ARRAY['"123"', '"null"', NULL, '"a, b"', '{"a": ["}"]}', '1', '"\\\\ \\""']"""


@decoding
def test_arrays_of_decoded_json(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read: Read
) -> None:
    _create("b jsonb[], j json[], d documents", source_db, target_db)
    source_db.execute(
        f"INSERT INTO profiles VALUES (1, {ARRAY}::jsonb[], {ARRAY}::json[], {ARRAY}::jsonb[]),"
        " (2, '{}', '{NULL}', NULL)"
    )
    _save(target_db, read(source_db, "SELECT * FROM profiles"), "decoded")
    assert _texts(target_db) == _texts(source_db)


@giving_text
def test_arrays_of_json_as_text(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read: Read
) -> None:
    _create("b jsonb[], j json[], d documents", source_db, target_db)
    source_db.execute(
        f"INSERT INTO profiles VALUES (1, {ARRAY}::jsonb[], {ARRAY}::json[], {ARRAY}::jsonb[]),"
        " (2, ARRAY[['1', 'null'], ['[2]', NULL]]::jsonb[], '{NULL,null,\"null\"}', '{1.10,1e400}')"
    )
    _save(target_db, read(source_db, "SELECT * FROM profiles"), "text")
    assert _texts(target_db) == _texts(source_db)


@decoding
def test_a_list_within_an_array_is_a_dimension_or_json(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, read: Read
) -> None:
    _create("b jsonb[]", source_db, target_db)
    for value in ("ARRAY['[1, 2]']", "ARRAY[['1', '2']]"):
        rows = read(source_db, f"SELECT 1, {value}::jsonb[]")
        assert rows[0][1] == [[1, 2]]
        for how in ("decoded", None):
            with pytest.raises(PostgresError, match=r'column "b" .*another dimension.* as text'):
                _save(target_db, rows, how)
    assert _texts(target_db) == []


def test_domains_composites_and_ranges(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    _create("d document, c pair, cs pair[], r span, rs span[], m spans", source_db, target_db)
    source_db.execute(
        """
        INSERT INTO profiles VALUES (1, '"123"', ROW(1, '"123"'), ARRAY[ROW(2, '"a,)"')::pair,
            ROW(NULL, '[1, "x"]')::pair], span('"123"', '"a \\" ]"', '(]'),
            ARRAY[span('1', NULL), span('1', '1')], spans(span('"1"', '"2"'))),
            (2, NULL, NULL, NULL, 'empty', NULL, NULL)
        """
    )
    with contextlib.closing(psycopg2.connect(source_db.uri)) as connection:
        psycopg2.extras.register_composite("pair", connection)
        psycopg2.extras.register_range("span", "Span", connection)
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM profiles")
            decoded = cursor.fetchall()
    assert (decoded[0][1], decoded[0][2].j, decoded[0][4].lower) == ("123",) * 3
    with pytest.raises(PostgresError, match=r'column "d"'):
        _save(target_db, decoded)
    _save(target_db, decoded, "decoded")
    assert _texts(target_db) == _texts(source_db)
    for read in DECODING.values():  # they know none of these types, and give their text
        target_db.execute("TRUNCATE profiles")
        _save(target_db, read(source_db, "SELECT * FROM profiles"), "decoded")
        assert _texts(target_db) == _texts(source_db)


def test_multiranges_of_decoded_json(target_db: TemporaryDatabase) -> None:
    _create("m spans", target_db)
    span = psycopg.types.range.Range("1", "2")
    multirange = psycopg.types.multirange.Multirange([span])
    _save(target_db, [(1, multirange), (2, [span])], "decoded")
    assert target_db.query("SELECT DISTINCT m::text FROM profiles") == [('{["""1""","""2""")}',)]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("jsonb", "123"),
        ("json", "123"),
        ("jsonb", b"123"),
        ("document", "123"),
        ("jsonb[]", ["123"]),
        ("json[]", [{}, "{}"]),
        ("documents", ["null"]),
        ("pair", (1, "123")),
        ("pair[]", [(1, {}), (2, "{}")]),
        ("span", psycopg.types.range.Range(None, "123")),
    ],
)
def test_a_str_is_refused_until_the_pool_is_told(
    target_db: TemporaryDatabase, type_: str, value: Any
) -> None:
    _create(f'"J" {type_}', target_db)
    with pytest.raises(PostgresError) as caught:
        _save(target_db, [(1, value)])
    for word in ('column "J"', type_, 'PostgresPool(json="text")', 'PostgresPool(json="decoded")'):
        assert word in str(caught.value)
    assert _texts(target_db) == []


def test_what_can_only_be_decoded_needs_no_telling(target_db: TemporaryDatabase) -> None:
    _create("j jsonb, a jsonb[]", target_db)
    values: list[Any] = [{"a": "1"}, ["2", ["3"]], 4, 5.5, True, Decimal("6.70"), None]
    rows = [(1, {}, []), *((n, value, [value]) for n, value in enumerate(values, 2) if n != 3)]
    _save(target_db, [*rows, (3, values[1], None)])
    assert target_db.query("SELECT j::text, a[1]::text FROM profiles ORDER BY id") == [
        ("{}", None), ('{"a": "1"}', '{"a": "1"}'), ('["2", ["3"]]', None), ("4", "4"),
        ("5.5", "5.5"), ("true", "true"), ("6.70", "6.70"), (None, None),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [{"a": 1}, [1], 1, 1.5, True, Decimal(1)], ids=repr)
@pytest.mark.parametrize("type_", ["jsonb", "json[]"])
def test_decoded_json_is_no_text(target_db: TemporaryDatabase, type_: str, value: Any) -> None:
    _create(f"j {type_}", target_db)
    row = (1, [value] if type_ == "json[]" and value != [1] else value)
    with pytest.raises(PostgresError, match=r'column "j" .*json="text".*json="decoded"'):
        _save(target_db, [row], "text")


def test_bytes_are_text(target_db: TemporaryDatabase) -> None:
    _create("j jsonb, a json[]", target_db)
    text = '"é"'.encode()
    _save(target_db, [(1, text, [bytearray(text)]), (2, memoryview(text), b'{"[1]"}')], "text")
    assert target_db.query("SELECT j, a FROM profiles ORDER BY id") == [("é", ["é"]), ("é", [[1]])]
    with pytest.raises(PostgresError, match=r'column "j" .* bytes'):
        _save(target_db, [(3, text, None)], "decoded")
    with pytest.raises(PostgresError, match=r'column "j" .* bytes, which is not text') as caught:
        _save(target_db, [(3, b"\xcc\x81\xff", None)], "text")
    assert "0xff" not in "".join(traceback.format_exception(caught.value))


def test_a_decoded_number_beyond_a_double_is_refused(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    _create("j json", source_db, target_db)
    rows = psycopg2_rows(source_db, "SELECT 1, '[1e400]'::json")
    assert rows[0][1] == [float("inf")]
    for value in (*rows[0][1:], float("nan"), Decimal("-Infinity"), [Decimal("sNaN")]):
        with pytest.raises(PostgresError, match=r'column "j" .*NaN or infinite.* as text'):
            _save(target_db, [(1, value)], "decoded")


def test_an_int_keeps_all_digits(target_db: TemporaryDatabase) -> None:
    _create("j jsonb, n numeric", target_db)
    _save(target_db, [(1, {"n": [10**5000]}, -(10**5000))], "decoded")
    (found,) = target_db.query(
        "SELECT j->'n'->>0 = '1' || repeat('0', 5000), n::text FROM profiles"
    )
    assert found == (True, "-1" + "0" * 5000)


def test_a_lone_surrogate_is_json_and_no_other_text(target_db: TemporaryDatabase) -> None:
    _create("j json, t text", target_db)
    for how, value in (("text", '["\ud800"]'), ("decoded", ["\ud800"])):
        _save(target_db, [(1, value, "x")], how)
        assert target_db.query("SELECT j::text FROM profiles") == [('["\\ud800"]',)]
    with pytest.raises(PostgresError, match='the column "t" has a lone surrogate') as caught:
        _save(target_db, [(1, None, "\udcff")])
    assert "surrogates not allowed" not in "".join(traceback.format_exception(caught.value))


def test_decimals_keep_all_digits(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    _create("b jsonb, j json", source_db, target_db)
    numbers = [number for number in BEYOND_PYTHON if number != "null"]
    _fill(source_db, [*numbers, f'{{"a \\"b\\"": [{", ".join(numbers)}, "é", null], "c": {{}}}}'])
    loads = functools.partial(json.loads, parse_float=Decimal)
    _save(target_db, psycopg2_rows(source_db, "SELECT * FROM profiles", loads), "decoded")
    columns = "SELECT id, b::text, j::jsonb::text FROM profiles ORDER BY id"
    assert target_db.query(columns) == source_db.query(columns)


def test_strings_that_are_no_utf_8_stay_in_json(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    _create("j json", source_db, target_db)
    source_db.execute(r"""INSERT INTO profiles VALUES (1, '"\ud83d"'), (2, '"\u0000"')""")
    _save(target_db, psycopg2_rows(source_db, "SELECT * FROM profiles"), "decoded")
    assert _texts(target_db) == _texts(source_db)


@pytest.mark.parametrize(
    "value",
    [dt.date(2024, 2, 3), {"hidden": [dt.date(2024, 2, 3)]}, {dt.date(2024, 2, 3): "hidden"}],
    ids=["alone", "within", "key"],
)
def test_what_json_does_not_have_is_refused_by_name(
    target_db: TemporaryDatabase, value: Any
) -> None:
    _create("j jsonb", target_db)
    with pytest.raises(PostgresError, match=r'column "j" .* date') as caught:
        _save(target_db, [(1, value)], "decoded")
    shown = "".join(traceback.format_exception(caught.value))
    assert "2024" not in shown
    assert "'hidden'" not in shown


@pytest.mark.parametrize(
    ("type_", "value"), [("pair", (1, {}, {})), ("pair", {}), ("span", [1]), ("jsonb[]", {})]
)
def test_a_value_of_another_type_is_refused_by_name(
    target_db: TemporaryDatabase, type_: str, value: Any
) -> None:
    _create(f"j {type_}", target_db)
    with pytest.raises(PostgresError, match=r'column "j" .* is not a value of that type'):
        _save(target_db, [(1, value)], "decoded")


def test_a_column_that_becomes_json_on_the_way_is_another_table(
    target_db: TemporaryDatabase,
) -> None:
    _create("j text", target_db)
    with opened(target_db, "target") as database:
        database.get_max_id()  # it has looked at the table
        target_db.execute("ALTER TABLE profiles ALTER j TYPE jsonb USING j::jsonb")
        with pytest.raises(TableChangedError, match="jsonb"):
            database.save_rows([(1, "123")])


@pytest.mark.parametrize("wrong", ["Text", "", 1, True, ["text"]], ids=repr)
def test_the_pool_takes_no_other_word(wrong: Any) -> None:
    with pytest.raises(ConfigError, match='json must be "text" or "decoded", not ') as caught:
        PostgresPool(json=wrong, where="")
    assert "where is empty" in str(caught.value)
