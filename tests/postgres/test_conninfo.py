"""What is wrong with the name of a database is said before anything starts, and no password."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg2
import pytest

from pipecopy import check_copy, copy_table, verify_tables
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import Event
from pipecopy.postgres import PostgresPool
from tests.support.asked import told
from tests.support.command import run
from tests.support.runs import CONFIG

QUOTES = "in a list of name=value, a value with spaces or quotes is written in single quotes"
PIECES = 'in a password "@" is written %40, "/" %2F, "?" %3F, "#" %23'
VALUE = 'what follows the "?" is name=value&name=value; in a value "&" is written %26'
PORT = 'a port is a number, and a password ends with an "@" before the host'
UNKNOWN = (
    'libpq does not know the parameters "schema", "pgbouncer", "connection_limit": remove them;'
    " a table's schema belongs to its name: schema.table; a pooler in session mode is allowed"
    " with `session_pooler`"
)
BEGINS = "a URI of PostgreSQL begins with postgresql://"
MALFORMED = [
    ("password=Sup3r S3cret host=h", f"this is not a valid connection string: {QUOTES}"),
    ("password=Sup3r S3cret=1 host=h", f"this is not a valid connection string: {QUOTES}"),
    ("password='S3cret host=h", "this is not a valid connection string: a quote is not closed"),
    ("postgresql://h/db?password=Sup3r&S3cret", f"this is not a valid URI: {VALUE}"),
    ("postgresql://h/db?password=Sup3r&S3cret=1", f"this is not a valid URI: {VALUE}"),
    (
        "u:p@S3cret/w@h/db",
        f"this is not a service's name, and {BEGINS.replace('of PostgreSQL ', '')}",
    ),
    ("postgresql://u:p@S3cret/w@h/db", f"this is not a valid URI: {PIECES}"),
    ("postgresql://u:S3cret/w@h/db", f"this is not a valid URI: {PIECES}"),
    (
        "postgresql://u:S3cret",
        f"this is not a valid URI: {PORT}",
    ),
    ("postgresql://u:p S3cret@h/db", "this is not a valid URI: a space is written %20"),
    (
        "postgresql://u:p%S3cret@h/db",
        'this is not a valid URI: a "%" that stands for itself is written %25',
    ),
    ("jdbc:postgresql://h/db?password=S3cret", f'"jdbc:postgresql://" is not libpq\'s: {BEGINS}'),
    ("postgresql+psycopg://u:S3cret@h", f'"postgresql+psycopg://" is not libpq\'s: {BEGINS}'),
    ("nosuch://u:S3cret@h", f"this is not a URI of libpq: {BEGINS}"),
    (
        "postgresql://u:S3cret@h/db?schema=public&pgbouncer=true&connection_limit=1",
        UNKNOWN,
    ),
    (
        "postgresql://u:S3cret@h/db?sslmod=require",
        'libpq does not know the parameter "sslmod" (did you mean sslmode?): remove it',
    ),
    (
        "postgresql://u:S3cret@h,[::1]:99999/db?sslmode=bogus",
        (
            "sslmode must be disable, allow, prefer, require, verify-ca or verify-full;"
            " port must be a number from 1 to 65535"
        ),
    ),
    ("password=S3cret port=,x", "port must be a number from 1 to 65535"),
    ("hst=S3cret", 'libpq does not know the parameter "hst" (did you mean host?): remove it'),
]


@pytest.mark.parametrize(("name", "wrong"), MALFORMED)
def test_a_malformed_connection_string_is_explained_without_it(name: str, wrong: str) -> None:
    assert PostgresPool().check_name(name) == wrong
    assert PostgresPool({"prod": name}).check_name("prod") == (
        f'the connection string of "prod": {wrong}'
    )
    with pytest.raises(ConfigError) as caught:
        copy_table(CONFIG, PostgresPool(), name, name)
    assert str(caught.value) == f"from_name: {wrong}; to_name: {wrong}"
    assert "S3cret" not in repr(PostgresPool({name: "x"}))


@pytest.mark.parametrize(
    "name",
    [
        "postgresql://u:p%40ss@h1:1,[::1]:2/db?sslmode=require&application_name=me@x",
        "postgres://",
        "postgresql://u:99999@[fe80::99999]:65535,h/db?target_session_attrs=read%2Dwrite",
        "host=a,b port=,5433 sslmode='verify-full' channel_binding=",
        "postgresql://h/db?ssl=true",  # which libpq takes from JDBC
        "host=h user=o'brien password='a b'",
        "host = h password=a\\ b",
    ],
)
def test_what_libpq_takes_is_taken(name: str) -> None:
    assert PostgresPool({"prod": name}).check_name("prod") is None
    assert PostgresPool().check_name(name) is None


@pytest.mark.parametrize("operation", [copy_table, check_copy, verify_tables])
def test_a_name_that_a_pool_does_not_have_is_named_with_those_that_it_has(
    operation: object,
) -> None:
    pool = PostgresPool({"prod": "host=h", "stats": "host=h"})
    with pytest.raises(ConfigError) as caught:
        operation(CONFIG, pool, "prod", "stast")  # type: ignore[operator] # one of the three
    assert str(caught.value) == (
        "to_name: \"stast\" is not in the pool's databases (prod, stats), nor a service in libpq's"
        " pg_service.conf, nor a URI or a connection string (did you mean stats?)"
    )
    assert caught.value.report is None


@pytest.mark.parametrize("name", [name for name, _ in MALFORMED[:6]])
def test_no_place_shows_a_piece_of_a_malformed_connection_string(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pipecopy.toml"
    file.write_text(f"[databases]\nprod = {json.dumps(name)}\n")
    shown = [
        run("copy", name, name, "--json", "--traceback"),
        told("copy", name, "--json"),
        told("copy", "--config", str(file), "prod", "prod"),
        told("copy", *name.split(), "stats"),  # without quotes in the shell
        told(name),
    ]
    monkeypatch.setenv("PIPECOPY_SOURCE", name)
    monkeypatch.setenv("PIPECOPY_TARGET", name)
    shown.append(told("check"))
    assert {ended.returncode for ended in shown} == {2}
    assert "S3cret" not in "".join(ended.stdout + ended.stderr for ended in shown)


class Psycopg2Pool:
    """libpq's own messages, which quote what they do not understand."""

    def connect(self, dbname: str) -> None:
        psycopg2.connect(dbname)


@pytest.mark.parametrize("name", [MALFORMED[0][0], MALFORMED[3][0]])
def test_another_drivers_message_shows_no_piece_of_it(name: str) -> None:
    events: list[Event] = []
    with pytest.raises(DatabaseError) as caught:
        copy_table(CONFIG, Psycopg2Pool(), name, name, observer=events.append)  # type: ignore[arg-type] # it ends before
    error = caught.value
    assert "S3cret" not in f"{error!r} {error.driver_traceback} {error.report!r} {events!r}"
    assert "connection info string" in str(error) or "URI" in str(error)
