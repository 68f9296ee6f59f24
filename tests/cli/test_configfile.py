"""The configuration file: all that is wrong with it is named at once, with the file and the key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.asked import asked, refused, warned
from tests.support.command import run

GOOD = """
databases.prod = "service=prod"
databases.stats = "postgresql://stats.internal/dwh"
jobs.nightly.source = "prod"
jobs.nightly.target = "stats"
"""
ROOT = Path(__file__).parents[2]
SECRET = "postgresql://me:s3cret@stats.internal/dwh"  # noqa: S105 - of nobody


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, path: str = "pipecopy.toml", mode: int = 0o600) -> None:
    Path(path).write_text(text, encoding="utf-8")
    Path(path).chmod(mode)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs.nightly.batch_size = 0", "jobs.nightly.batch_size must be at least 1, not 0"),
        ("jobs.nightly.batch-size = 0", "jobs.nightly.batch-size must be at least 1, not 0"),
        (
            "jobs.nightly.batch_size = true",
            "jobs.nightly.batch_size must be a whole number, not true",
        ),
        (
            "jobs.nightly.batch_size = 1.0",
            "jobs.nightly.batch_size must be a whole number, not 1.0",
        ),
        (
            "jobs.nightly.batch_size = [1]",
            "jobs.nightly.batch_size must be a whole number, not a list",
        ),
        ('jobs.nightly.batch_size = "x"', 'jobs.nightly.batch_size: "x" is not a whole number'),
        ('jobs.nightly.resume = "yes"', 'jobs.nightly.resume must be true or false, not "yes"'),
        ("jobs.nightly.resume = 1", "jobs.nightly.resume must be true or false, not 1"),
        ("jobs.nightly.table = 5", "jobs.nightly.table must be a name or a list of names, not 5"),
        (
            "jobs.nightly.table = {a = 1}",
            "jobs.nightly.table must be a name or a list of names, not a table",
        ),
        ("jobs.nightly.where = false", "jobs.nightly.where must be a string, not false"),
        (
            "jobs.hourly = {source = {pwd = 'secret'}, target = 'stats'}",
            "jobs.hourly.source must be a string, not a table",
        ),
        (
            "jobs.nightly.columns = ['a', 1]",
            "jobs.nightly.columns must be a list of names, not a list with 1",
        ),
        ("jobs.nightly.columns = true", "jobs.nightly.columns must be a list of names, not true"),
        ('jobs.nightly.table = " "', "jobs.nightly.table is empty"),
        ('jobs.nightly.where = ""', "jobs.nightly.where is empty"),
        (r'jobs.nightly.key = "a\u0000"', "jobs.nightly.key has a NUL character in it"),
        ("jobs.nightly.columns = []", "jobs.nightly.columns: '' is not a valid list of columns"),
        ('jobs.nightly.columns = ["id", ""]', "jobs.nightly.columns is empty"),
        (
            'jobs.nightly.columns = "id,"',
            "jobs.nightly.columns: 'id,' is not a valid list of columns",
        ),
        (
            'jobs.nightly.call_timeout = "5 parsecs"',
            'jobs.nightly.call_timeout: "5 parsecs" is not a valid duration such as',
        ),
        (
            "jobs.nightly.call_timeout = 1979-05-27",
            (
                'jobs.nightly.call_timeout must be a duration such as "30s", or a number of'
                ' seconds, not "1979-05-27"'
            ),
        ),
        (
            "jobs.nightly.call_timeout = 0",
            "jobs.nightly.call_timeout must be more than 0, not 0",
        ),
        (
            "jobs.nightly.retries_delay = -1.5",
            'jobs.nightly.retries_delay: "-1.5" is not a valid duration such as',
        ),
        (
            "jobs.nightly.full_copy_timeout = inf",
            'jobs.nightly.full_copy_timeout: "inf" is not a valid duration such as',
        ),
        (
            "jobs.nightly.retries_delay = nan",
            'jobs.nightly.retries_delay: "nan" is not a valid duration such as',
        ),
        (
            f"jobs.nightly.retries_delay = 1{'0' * 400}",
            'jobs.nightly.retries_delay: "1000',
        ),
        (
            'jobs.nightly.max_batch_bytes = "64 parsecs"',
            'jobs.nightly.max_batch_bytes: "64 parsecs" is not a valid size such as',
        ),
        (
            "jobs.nightly.max_batch_bytes = 0",
            "jobs.nightly.max_batch_bytes must be at least 1, not 0",
        ),
        ("jobs.nightly.from_id = -1", "jobs.nightly.from_id must be at least 0, not -1"),
        (
            "jobs.nightly.bacth_size = 5",
            "jobs.nightly.bacth_size is an unknown option (did you mean batch_size?)",
        ),
        ("jobs.nightly.config = 'x'", "jobs.nightly.config is an unknown option"),
        ("jobs.nightly.hang = true", "jobs.nightly.hang is an unknown option"),  # the demo's
        ("defaults.colour = 5", "defaults.colour is an unknown option"),
        (
            "defaults.batch_size = 5\ndefaults.batch-size = 6",
            "defaults.batch-size is set twice, with a hyphen and an underscore",
        ),
        ("databases.old = 5", "databases.old must be a string"),
        ("databases.old = ''", "databases.old is empty"),
        ("databases.'' = 'x'", "databases has an empty name"),
        (
            "databases.old = 'hst=x'",
            'databases.old: libpq does not know the parameter "hst" (did you mean host?)',
        ),
        ("jobs.'' = {}", "jobs has an empty name"),
        ("jobs.hourly = 5", "jobs.hourly must be a table, [jobs.hourly]"),
        ("jobs.hourly = {target = 'prod'}", "jobs.hourly has no source"),
        ("jobs.'two words' = {source = 'prod'}", 'jobs."two words" has no target'),
        (
            "jobs.hourly = {source = 'prdo', target = 'stats'}",
            (
                'jobs.hourly.source: "prdo" is not in [databases] (prod, stats), and is not a'
                " URI or a connection string such as service=prdo"
            ),
        ),
        (
            "jobs.hourly = {source = 'prod', target = 'hst=x'}",
            'jobs.hourly.target: libpq does not know the parameter "hst" (did you mean host?)',
        ),
        (
            "jobs.nightly.from_id = 7\njobs.nightly.to_id = 3",
            "jobs.nightly: --from-id 7 is above --to-id 3",
        ),
        (
            "jobs.nightly.batch_time = 3\njobs.nightly.call_timeout = '5s'",
            "jobs.nightly: --batch-time 3s is more than half of --call-timeout 5s",
        ),
        (
            "jobs.nightly.from_id = 'x'\njobs.nightly.to_id = 3",
            'jobs.nightly.from_id: "x" is not a whole number',
        ),
        (
            "defaults = {resume = true, where = 'x > 3'}",
            "defaults: --resume does not go with --where",
        ),
        (
            "database.x = 'y'",
            "[database] is not one of the sections [databases], [defaults], [engine], [jobs]",
        ),
        ("batch_size = 5", "batch_size is in no section: options belong in [defaults] or [jobs.N"),
        ("defaults = 5", "defaults must be a table, [defaults]"),
    ],
)
def test_what_is_wrong_is_said_with_the_key(text: str, said: str) -> None:
    """Whatever job it is in: a mistake in another one would be found at night."""
    write(f"{text}\n{GOOD}")
    message = refused("copy", "a", "b", "--table", "profiles")
    assert message.startswith(f"pipecopy.toml: {said}")
    assert ";" not in message


def test_everything_wrong_is_named_at_once() -> None:
    write(
        """
        top = 1
        [databases]
        prod = "hst=foo"
        [defaults]
        call_timeout = -5
        [jobs.one]
        source = "prod"
        target = "stats"
        batch_size = 0
        table = ""
        bogus = 1
        [jobs.two]
        key = 5
        """
    )
    message = refused("copy", "one", PIPECOPY_MAX_RETRIES="-1")
    assert message.split("; ") == [
        "PIPECOPY_MAX_RETRIES must be at least 0, not -1",
        "pipecopy.toml: top is in no section: options belong in [defaults] or [jobs.NAME]",
        (
            'pipecopy.toml: defaults.call_timeout: "-5" is not a valid duration such as 250ms, 30s,'
            " 5m, 1h30m or 1d"
        ),
        "pipecopy.toml: jobs.one.batch_size must be at least 1, not 0",
        "pipecopy.toml: jobs.one.table is empty",
        "pipecopy.toml: jobs.one.bogus is an unknown option",
        "pipecopy.toml: jobs.two.key must be a string, not 5",
        (
            'pipecopy.toml: databases.prod: libpq does not know the parameter "hst" (did you mean'
            " host?): remove it"
        ),
        (
            'pipecopy.toml: jobs.one.target: "stats" is not in [databases] (prod), and is not a URI'
            " or a connection string such as service=stats"
        ),
        "pipecopy.toml: jobs.two has no source",
        "pipecopy.toml: jobs.two has no target",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[jobs.nightly]\nsource prod",
            "Expected '=' after a key in a key/value pair (at line 2, column 8)",
        ),
        ("[jobs.nightly]\nsource = 'prod", "(at line 2, column 15, the end)"),
        (f"a = {'9' * 5000}", "Exceeds the limit"),
        (f"a = {'[' * 5000}", "it is nested too deeply"),
    ],
)
def test_invalid_toml_is_said_with_the_place(text: str, said: str) -> None:
    write(text)
    message = refused("copy", "nightly")
    assert message.startswith("pipecopy.toml is not valid TOML: ")
    assert said in message


def test_another_encoding_is_named_with_the_line(folder: Path) -> None:
    (folder / "pipecopy.toml").write_bytes("[databases]\n# für\n".encode("latin-1"))
    assert refused("copy", "a", "b") == "pipecopy.toml is not encoded in UTF-8: line 2"


def test_a_mark_at_the_beginning_of_the_file_is_no_part_of_it(folder: Path) -> None:
    (folder / "pipecopy.toml").write_text("[databases]\na = ''\n", encoding="utf-8-sig")
    assert refused("copy", "a", "b") == "pipecopy.toml: databases.a is empty"


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "pipecopy.toml").mkdir()
    unread = "pipecopy.toml can't be read: Is a directory"
    assert refused("copy", "a", "b", "--config", "pipecopy.toml") == unread
    assert refused("copy", "a", "b", PIPECOPY_CONFIG="pipecopy.toml") == unread
    # nobody named it
    assert warned("copy", "a", "b") == [f"{unread}; this run goes on without the file"]
    assert refused("copy", "nightly").startswith(
        f'there is no job "nightly": {unread}; there is no pipecopy.toml in '
    )


def test_a_working_directory_that_cannot_be_read_is_no_reason() -> None:
    script = """
import os
from tests.support.asked import asked, refused, warned
asked("copy", "a", "b"), refused("copy", "x")  # imports the rest: the interpreter may be root's own
os.mkdir("unreadable")
os.chdir("unreadable")
os.chmod(".", 0)
if os.geteuid() == 0:  # who may read all
    os.setgroups([])
    os.setuid(54321)
print(asked("copy", "a", "b").source, *warned("copy", "a", "b"), sep="|", end="|")
print(refused("copy", "nightly"))
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    ).stdout
    unread = "pipecopy.toml can't be read: Permission denied"
    source, warning, refusal = said.split("|")
    assert (source, warning) == ("a", f"{unread}; this run goes on without the file")
    assert refusal.startswith(f'there is no job "nightly": {unread}; there is no pipecopy.toml in ')


def test_the_error_is_one_line_and_2_and_json_where_the_job_asks_for_it() -> None:
    write(f"{GOOD}jobs.nightly.json = true\njobs.nightly.batch_size = 0")
    result = run("copy", "nightly")
    said = "pipecopy.toml: jobs.nightly.batch_size must be at least 1, not 0"
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == f"error: {said}"
    assert f'"message": "{said}"' in result.stdout


def test_the_file_is_named_by_option_or_variable(folder: Path) -> None:
    write(GOOD, "other.toml")
    write("[jobs.nightly]\nbogus = 1")
    assert asked("copy", "nightly", "--config", "other.toml").source == "prod"
    assert asked("copy", "nightly", PIPECOPY_CONFIG=str(folder / "other.toml")).source == "prod"
    both = refused("copy", "nightly", "--config", "no.toml", PIPECOPY_CONFIG="other.toml")
    assert both == "there is no file no.toml, which --config names"
    neither = refused("copy", "a", "b", PIPECOPY_CONFIG="no.toml")
    assert neither == "there is no file no.toml, which PIPECOPY_CONFIG names"
    nobody = refused("copy", "a", "b", PIPECOPY_CONFIG="~no-such-user/no.toml")
    assert nobody == (
        "~no-such-user/no.toml can't be read: there is no home directory for ~no-such-user;"
        " give the whole path"
    )
    empty = refused("copy", "nightly", PIPECOPY_CONFIG="")
    assert empty.startswith("pipecopy.toml: jobs.nightly.bogus is an unknown option")


def test_without_a_file_nothing_is_missed() -> None:
    command = asked("copy", "a", "b")
    assert (command.source, command.target, dict(command.connections)) == ("a", "b", {})


def test_the_help_needs_no_good_file() -> None:
    write("what is this")
    result = run("copy", "--help")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "mode", "is_warned_of"),
    [
        (f"[databases]\nstats = '{SECRET}'", 0o644, True),
        (f"[databases]\nstats = '{SECRET}'", 0o640, True),
        (f"[defaults]\ntarget = '{SECRET}'", 0o604, True),
        (f"[databases]\nstats = '{SECRET}'", 0o600, False),
        ("[databases]\nstats = 'service=stats'", 0o644, False),
    ],
)
def test_a_password_that_others_may_read_is_warned_of(
    text: str, mode: int, *, is_warned_of: bool
) -> None:
    write(text, mode=mode)
    said = warned("copy", "a", "b")
    expected = (
        "other users may read pipecopy.toml, which contains a password; run chmod 600 pipecopy.toml"
    )
    assert said == ([expected] if is_warned_of else [])


@pytest.mark.parametrize(
    "text",
    [
        f"databases.old = ['{SECRET}']",
        f"databases.old = 5\ndatabases.other = '{SECRET}'",
        f"jobs.hourly = {{source = '{SECRET} old', target = 'stats'}}",
        f"jobs.hourly = {{source = 'prod', target = 'stats', batch_size = '{SECRET}'}}",
        "jobs.hourly = {source = 'me:s3cret@stats.internal', target = 'stats'}",
        "databases.old = 'postgres:/me:s3cret@stats.internal/dwh?x=y'",
        "databases.old = 'hst=x password=s3cret'",
        "defaults.read_ahead = 'postgresql://u:s3cretOfManyCharactersSoThatTheEndIsCutOff@h/db'",
    ],
)
def test_no_message_shows_a_password(text: str) -> None:
    write(f"{text}\n{GOOD}")
    message = refused("copy", "nightly")
    assert "s3cret" not in message
    assert message.startswith("pipecopy.toml: ")
