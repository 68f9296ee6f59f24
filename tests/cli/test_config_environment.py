"""`PIPECOPY_…` variables: one for each option."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.asked import asked, refused, warned
from tests.support.command import run
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_copy_may_be_asked_for_by_variables_alone(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    monkeypatch.setenv("PIPECOPY_SOURCE", source_db.uri)
    monkeypatch.setenv("PIPECOPY_TARGET", target_db.uri)
    monkeypatch.setenv("PIPECOPY_BATCH_SIZE", "40")
    result = run("copy")
    assert result.returncode == 0, result.stderr
    assert "; 3 batches, " in result.stderr
    assert_equal_tables(source_db, target_db)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("BATCH_SIZE", "40", 40),
        ("BATCH_SIZE", "10k", 10_000),
        ("CALL_TIMEOUT", "1m30s", 90.0),
        ("RETRIES_DELAY", "0.25", 0.25),
        ("FULL_COPY_TIMEOUT", "1d12h", 129_600.0),
        ("MAX_BATCH_BYTES", "1KiB", 1024),
        ("MAX_BATCH_BYTES", "64M", 64 * 2**20),
        ("BATCH_TIME", "1.5s", 1.5),
        ("TABLE", "shop.orders", "shop.orders"),
        ("WHERE", "-x > 3", "-x > 3"),
        ("WHERE", "none", "none"),
        ("COLUMNS", 'id, "a, b",c', ("id", '"a, b"', "c")),
        ("SESSION_POOLER", "yes", True),
        ("SESSION_POOLER", "0", False),
        ("JSON", "true", True),
        ("TO_ID", "7", 7),
    ],
)
def test_each_kind_of_value_is_as_on_the_command_line(name: str, text: str, value: object) -> None:
    command = asked("copy", "a", "b", **{f"PIPECOPY_{name}": text})
    groups = (command.selection, command.ids, command.limits, command.output)
    (found,) = [vars(group)[name.lower()] for group in groups if name.lower() in vars(group)]
    assert (found, type(found)) == (value, type(value))
    given = asked("copy", "a", "b", f"--{name.lower().replace('_', '-')}={text}")
    assert command == given


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("BATCH_SIZE", "0", "PIPECOPY_BATCH_SIZE must be at least 1, not 0"),
        (
            "BATCH_SIZE",
            "1.5",
            'PIPECOPY_BATCH_SIZE: "1.5" is not a whole number such as 500 or 10k',
        ),
        ("READ_AHEAD", "2", "PIPECOPY_READ_AHEAD must be 0 to 1, not 2"),
        ("CALL_TIMEOUT", "0", "PIPECOPY_CALL_TIMEOUT must be more than 0, not 0"),
        ("BATCH_TIME", "0s", "PIPECOPY_BATCH_TIME must be more than 0, not 0"),
        ("RESUME", "maybe", 'PIPECOPY_RESUME: "maybe" is neither true nor false'),
        ("TABLE", " ", "PIPECOPY_TABLE is empty"),
        ("SOURCE", " ", "PIPECOPY_SOURCE is empty"),
        ("FROM_ID", "-3", "PIPECOPY_FROM_ID must be at least 0, not -3"),
        (
            "MAX_BATCH_BYTES",
            "big",
            'PIPECOPY_MAX_BATCH_BYTES: "big" is not a valid size such as 64M, 64MiB or 500kB',
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_variable(name: str, text: str, message: str) -> None:
    assert refused("copy", "a", "b", **{f"PIPECOPY_{name}": text}) == message


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        (
            "PIPECOPY_CALL_TIMOUT",
            ("PIPECOPY_CALL_TIMOUT is an unknown variable (did you mean PIPECOPY_CALL_TIMEOUT?)"),
        ),
        (
            "PIPECOPY_call_timeout",
            ("PIPECOPY_call_timeout is an unknown variable (did you mean PIPECOPY_CALL_TIMEOUT?)"),
        ),
        ("PIPECOPY_ZONE", "PIPECOPY_ZONE is an unknown variable"),
        ("PIPECOPY_ROWS", None),  # the demo's
        ("PIPECOPY_TEST", "PIPECOPY_TEST is an unknown variable"),
        ("PIPECOPYIST", None),
    ],
)
def test_a_variable_of_no_option_is_warned_of(name: str, warning: str | None) -> None:
    assert warned("copy", "a", "b", **{name: "5"}) == ([] if warning is None else [warning])


@pytest.mark.parametrize("name", ["WHERE", "BATCH_SIZE", "RESUME", "CONFIG", "TARGET", "NOTHING"])
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    empty = {f"PIPECOPY_{name}": ""}
    assert asked("copy", "a", "b", **empty) == asked("copy", "a", "b")
    assert not warned("copy", "a", "b", **empty)


def test_a_warning_is_a_line_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPECOPY_SUORCE", "x")
    result = run("copy")
    first, second, _ = result.stderr.splitlines()
    assert first.endswith(
        "warning: PIPECOPY_SUORCE is an unknown variable (did you mean PIPECOPY_SOURCE?)"
    )
    assert second.startswith("error: SOURCE and TARGET not given")


def test_the_demo_has_variables_too() -> None:
    assert asked("demo", PIPECOPY_ROWS="5", PIPECOPY_BATCH_SIZE="what").rows == 5
