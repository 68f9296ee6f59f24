"""`${VARIABLE}` in the values of pipecopy.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy.cli.substitution import Unset, expand
from tests.support.asked import asked, refused, warned

SIDES = "source = 'host=a'\ntarget = 'host=b'\n"
JOB = f"[jobs.nightly]\n{SIDES}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, mode: int = 0o600) -> None:
    Path("pipecopy.toml").write_text(text, encoding="utf-8")
    Path("pipecopy.toml").chmod(mode)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a${X}b${X}", "a1b1"),
        ("$X $1 a$ $$b$$ {X}", "$X $1 a$ $$b$$ {X}"),  # SQL's own
        ("$${X} ${X}", "${X} 1"),
        ("${AGAIN}", "${X}"),
        ("${X:-2}${EMPTY:-2}${NONE:-2}${NONE:-}", "122"),
        ("${NONE}${X}${EMPTY}${NONE}", Unset(("NONE", "EMPTY"))),
        (["a", "${X}"], ["a", "1"]),
        (["${NONE}", "${X}"], Unset(("NONE",))),
        (5, 5),
    ],
)
def test_a_variable_is_put_in_as_it_is(text: object, value: object) -> None:
    assert expand(text, {"X": "1", "AGAIN": "${X}", "EMPTY": ""}) == value


@pytest.mark.parametrize("text", ["${", "${}", "${1X}", "${X", "${X-2}", "${X:?no}", "a ${ X }"])
def test_anything_else_after_the_brace_is_wrong(text: str) -> None:
    write(f"[jobs.other]\n{SIDES}where = '{text}'")
    assert refused("copy", "host=a", "host=b", X="1") == (
        'pipecopy.toml: jobs.other.where: "${" must begin ${VARIABLE} or ${VARIABLE:-default}'
        ' (a literal "${" is written "$${")'
    )


def test_every_kind_of_value_may_have_one() -> None:
    write(
        """
        databases.prod = "host=${HOST} password='${SECRET}'"
        defaults.call_timeout = "${SECONDS}s"
        [jobs.nightly]
        source = "${SIDE}"
        target = "postgresql://me:${SECRET}@stats/dwh"
        batch_size = "${SIZE}"
        max_batch_bytes = "${SIZE}"
        columns = ["id", "${COLUMN}"]
        where = "region = '${REGION:-eu}'"
        resume = "${RESUME}"
        """
    )
    given = {"HOST": "h", "SECRET": "s3cret", "SECONDS": "9", "SIDE": "prod", "SIZE": "10k"}
    command = asked("verify", "nightly", **given, COLUMN="a, b", RESUME="no")
    assert command.connections == {"prod": "host=h password='s3cret'"}
    assert (command.source, command.target) == ("prod", "postgresql://me:s3cret@stats/dwh")
    assert (command.limits.batch_size, command.limits.call_timeout) == (10_000, 9.0)
    assert command.limits.max_batch_bytes == 10_240
    assert command.selection.columns == ("id", "a, b")
    assert command.selection.where == "region = 'eu'"
    texts = (*command.connections.values(), command.source, command.selection.where)
    assert {*map(type, (*texts, *command.selection.columns))} == {str}  # they go to workers
    assert "s3cret" not in refused("copy", "nightly", **given, COLUMN="c", RESUME="maybe")


def test_a_wrong_value_of_a_variable_is_named_by_the_key() -> None:
    write(f"{JOB}resume = '${{FLAG}}'\nbatch_size = '${{SIZE}}'")
    assert refused("copy", "nightly", FLAG="maybe", SIZE="x").split("; ") == [
        'pipecopy.toml: jobs.nightly.resume: "maybe" is neither true nor false',
        'pipecopy.toml: jobs.nightly.batch_size: "x" is not a whole number such as 500 or 10k',
    ]
    assert asked("copy", "nightly", FLAG="yes", SIZE="7").how.resume


def test_one_that_is_not_set_stops_only_what_uses_it() -> None:
    write(
        f"""
        databases = {{prod = "host=${{HOST}}", stats = "host=stats"}}
        defaults.table = "${{TABLE}}"
        {JOB}
        [jobs.other]
        source = "prod"
        target = "host=${{A}} port=${{B}}"
        from_id = "${{FIRST}}"
        """
    )
    assert asked("copy", "nightly", TABLE="t").selection.table == "t"
    assert asked("copy", "nightly", "--table", "t").selection.table == "t"
    assert asked("copy", "stats", "host=b", PIPECOPY_TABLE="t").selection.table == "t"
    assert refused("copy", "other", "--batch-size", "0").split("; ") == [
        "--batch-size must be at least 1, not 0",
        "pipecopy.toml: jobs.other.target: the variables A, B are not set",
        "pipecopy.toml: jobs.other.from_id: the variable FIRST is not set",
        "pipecopy.toml: defaults.table: the variable TABLE is not set",
        "pipecopy.toml: databases.prod: the variable HOST is not set",
    ]
    given = {"A": "a", "B": "1", "TABLE": "t", "HOST": "h"}
    assert asked("copy", "other", "--from-id", "3", **given).ids.from_id == 3
    empty = refused("copy", "nightly", TABLE="")
    assert empty == "pipecopy.toml: defaults.table: the variable TABLE is not set"


def test_a_variable_that_the_file_uses_is_not_warned_of() -> None:
    write(f"{JOB}table = '${{PIPECOPY_NAME}}'")
    given = {"PIPECOPY_NAME": "orders", "PIPECOPY_NAMES": "x"}
    assert warned("copy", "nightly", **given) == ["PIPECOPY_NAMES is an unknown variable"]


@pytest.mark.parametrize(
    ("password", "is_warned_of"),
    [("${SECRET}", False), ("${SECRET:-s3cret}", True), ("s3${REST}", True)],
)
def test_a_password_from_a_variable_is_none_that_others_may_read(
    password: str, *, is_warned_of: bool
) -> None:
    uri, words = f"postgresql://me:{password}@h/db", f"password={password} host=h"
    for text in (f"databases.stats = '{uri}'", f"defaults.target = '{words}'"):
        write(f"{text}\n{JOB}", mode=0o644)
        said = warned("copy", "nightly", SECRET="s3cret", REST="cret")  # noqa: S106 - of nobody
        assert len(said) == is_warned_of
