"""No password is shown, and nothing else is hidden."""

from __future__ import annotations

import pytest

from pipecopy.redact import redact


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
    ],
)
def test_hides_nothing_else(text: str) -> None:
    assert redact(text) == text
