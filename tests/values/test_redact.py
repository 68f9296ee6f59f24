"""No password is shown, and nothing else is hidden."""

from __future__ import annotations

import random

import pytest

from pipecopy.redact import redact, secrets_in, shown_name


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:{}@db.example.org:5432/prod",
        "postgres://me:{}@[::1]/prod?sslmode=require",
        "postgresql://db.example.org/prod?user=me&password={}&sslmode=require",
        "host=db user=me password={} dbname=prod",
        "host=db user=me password = '{}' dbname=prod",
        "host=db sslpassword={} dbname=prod",
        "PASSWORD={}",
        "connection to \"postgresql://me:{}@db/prod\" failed: password='{}'",
    ],
)
@pytest.mark.parametrize("password", ["hunter2", "p%40ss", "a:b", "dollar$1", "back\\\\slash"])
def test_hides_passwords(text: str, password: str) -> None:
    shown = redact(text.format(password, password))
    assert password not in shown
    assert "***" in shown


@pytest.mark.parametrize("password", ["p@ss", "p@/ss", "a@b@c", "sl/ash"])
def test_hides_passwords_that_should_have_been_quoted(password: str) -> None:
    shown = redact(f"postgresql://me:{password}@db.example.org/prod")
    assert shown == "postgresql://me:***@db.example.org/prod"


@pytest.mark.parametrize(
    "password", ["with space", r"with \'quote", r"with \\backslash", "password=inside"]
)
def test_hides_quoted_passwords(password: str) -> None:
    assert redact(f"user=me password='{password}' port=1") == "user=me password=*** port=1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PROD",
        "postgresql://me@db.example.org:5432/prod",
        "postgresql://db/prod",
        "host=db user=me dbname=prod",
        'password authentication failed for user "me"',
        "see https://www.postgresql.org/docs/ for more",
        "the source's time is 12:30, write to me@example.org",
        "at 12:30:00 bob@example.org left",
        "mailto:bob@example.org",
        'relation "x":y is not for bob@example.org',
        "Key (email)=(bob@example.org) already exists.",
        'connection to server at "::1", port 5432 failed; fe80::1%eth0: ask bob@example.org',
        "postgresql://[::1]:5432/prod is down: ask bob@example.org",
        "postgresql://db:5432/prod, or ask bob@example.org",
        "https://example.org/@bob and git@example.org:bob/it",
        "if password == other: raise",
        "{'password': None}",
        "passfile=/home/me/.pgpass",
    ],
)
def test_hides_nothing_else(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=x password=p&ss port=1", "host=x password=*** port=1"),
        (r"password=a\ b port=1", "password=*** port=1"),
        ("password='not closed", "password=***"),
        ('password="a"b port=1', "password=*** port=1"),
        ("postgresql://u:my secret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a@b c@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:a://b@h/db", "postgresql://u:***@h/db"),
        ("postgres:/u:pw@h/db", "postgres:/u:***@h/db"),
        ("postgres:pw@h/db", "postgres:***@h/db"),
        ("u:pw@h/db", "u:***@h/db"),
        ("no service 'u:12:30@h'", "no service 'u:***@h'"),
        ("PGPASSWORD=x python -m pipecopy", "PGPASSWORD=*** python -m pipecopy"),
        ("{'password': 'x y', 'port': 1}", "{'password': ***, 'port': 1}"),
        ('{"sslpassword":"x\\"y"}', '{"sslpassword":***}'),
        ("connect(user='u', password='x')", "connect(user='u', password=***)"),
        ("passwd=x oauth_client_secret=y", "passwd=*** oauth_client_secret=***"),
        ("//h/db?sslpassword=a%20b&port=1", "//h/db?sslpassword=***&port=1"),
        ("//h/db?pass%77ord=x&port=1", "//h/db?pass%77ord=***&port=1"),
        (
            'from "postgresql://u:a b@h1/x" to "postgresql://v:c d@h2/y", run 1',
            'from "postgresql://u:***@h1/x" to "postgresql://v:***@h2/y", run 1',
        ),
        (
            "from postgresql://u:a@h1/x to postgresql://v:c@h2/y",
            "from postgresql://u:***@h1/x to postgresql://v:***@h2/y",
        ),
        (
            "'postgresql://u:pw@h/db' is down, ask bob@example.org",
            "'postgresql://u:***@h/db' is down, ask bob@example.org",
        ),
    ],
)
def test_hides_passwords_as_they_are_mistyped(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "name",
    [
        "password=Sup3r S3cret host=h",
        "password=Sup3r S3cret=1 host=h",
        "password='Sup3r S3cret host=h",
        "pasword=S3cret host=h",
        "Driver={PostgreSQL};Server=h;Pwd=S3cret",
        "postgresql://h/db?password=Sup3r&S3cret",
        "postgresql://h/db?password=Sup3r&S3cret=1",
        "postgresql://h/db?pasword=S3cret",
        "u:p@S3cret/w@h/db",
        "postgresql://u:p@S3cret/w@h/db",
        "postgresql://u:p?S3cret=w@h/db",
        "postgresql://u:S3cret",
        "postgresql://u:S3cret/w@h/db",
        "postgresql://u:p S3cret@h/db",
        "postgresql://u:p%S3cret@h/db",
        "postgresql://u:p#S3cret@h/db",
        "postgresql://[u:S3cret@h/db",
        "jdbc:postgresql://h/db?user=u&password=S3cret",
        "jdbc:sqlserver://h;user=u;password=S3cret",
        "scott/S3cret@h",
        "mysql://u:S3cret@h/db?charset=x",
    ],
)
def test_of_a_connection_string_nothing_is_shown_that_may_be_secret(name: str) -> None:
    assert "S3cret" not in shown_name(name)
    assert shown_name(shown_name(name)) == shown_name(name)
    assert redact(f"no database {name}: 'S3cret'?", secrets_in(name, {})).count("S3cret") == 0


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (name, name)
        for name in (
            "prod",
            "my db",
            "/data/prod.db",
            "orders@prod",
            "prod:main",
            "sqlite:////data/prod.db",
            "service=prod",
            "host=h user='me@h' port=5432 options='-c a=b'",
            "postgresql://me@h1:1,[::1]:2/db?sslmode=require&user=me@h",
            "postgresql:///db?host=/run",
            "postgresql://%2Frun/db",
        )
    ]
    + [
        ("postgresql://u:a:b@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:p%40@h/db?schema=a", "postgresql://u:***@h/db?schema=***"),
        ("mysql://u:p@h/db?charset=x", "mysql://u:***@h/db?charset=***"),
        (r"host=h password=a\ b port=1", "host=h password=*** port=1"),
        ("host=h password='a b' port=1", "host=h password=*** port=1"),
    ],
)
def test_the_rest_of_a_name_is_shown(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_hides_nothing_more_the_second_time() -> None:
    tokens = ["postgresql://", "u", ":", "@", "***", " ", "'", '"', "password", "=", "/", "?"]
    tokens += ["&", "\\", "://", "\n", "5432", ",", "pw%40", "{", "}"]
    chosen = random.Random(1)
    for _ in range(5000):
        text, secret = ("".join(chosen.choices(tokens, k=count)) for count in (12, 2))
        shown = redact(text, [secret])
        assert redact(shown, [secret]) == shown, text


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("postgresql://u:p%40ss@h", {"p%40ss", "p@ss"}),
        ("u:my secret@h", {"my secret", "secret"}),
        ("postgresql://u:hunter/word@h", {"hunter", "word"}),  # a port and a path, to a parser
        ("postgresql://u:p@hunter@h", {"hunter"}),
        (r"password='it\'s' port=1", {"it's", r"it\'s", "it%27s"}),
        (r"password=a\ b", {"a b"}),
        ("postgresql://h/db?password=a%20b", {"a%20b", "a b"}),
    ],
)
def test_finds_the_passwords_themselves(text: str, secrets: set[str]) -> None:
    assert secrets <= secrets_in(text, {})


@pytest.mark.parametrize(
    "text", ["", "prod", "postgresql://u@h:5432/db", "host=h user=u", "user=u@x"]
)
def test_finds_no_password_where_there_is_none(text: str) -> None:
    assert secrets_in(text, {}) == set()


def test_finds_the_password_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hunter2" in secrets_in("prod", {"PGPASSWORD": "hunter2"})
    monkeypatch.setenv("PGPASSWORD", "hunter3")
    assert "hunter3" in secrets_in("prod")


def test_hides_known_secrets_wherever_they_stand() -> None:
    text = 'invalid port number: "hunter2"; x hunter2; ab'
    shown = redact(text, secrets_in("postgresql://u:hunter2/x@h", {}) | {"ab", ""})
    assert shown == 'invalid port number: "***"; x ***; ab'
    assert redact("abcd", {"abc", "bcd"}) == "***"
