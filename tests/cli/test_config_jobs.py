"""Jobs and databases by name: `copy nightly`, `copy prod stats`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from pipecopy.cli.app import build_app
from pipecopy.cli.options import IdRange, Limits
from pipecopy.postgres import PostgresPool
from tests.support.asked import asked, refused, warned
from tests.support.command import run
from tests.support.databases import TemporaryDatabase
from tests.support.profiles import assert_equal_tables, create_profiles
from tests.support.servers import PASSWORD, PASSWORD_USER, PostgresServer

SIZES = """
databases.prod = "service=prod"
databases.stats = "postgresql://stats.internal/dwh"

[defaults]
call_timeout = "10s"
max_retries = 7
quiet = true

[jobs.nightly]
source = "prod"
target = "stats"
table = "public.profiles"
target-table = '"Profiles"'
key = "number"
columns = ["id", "a, b", 'c"d']
session_pooler = true
batch_size = 500
max-retries = 5
retries_delay = 0.5
full_copy_timeout = "6h"
max_batch_bytes = 1_000_000
batch_time = "2s"
from_id = 10
to_id = 20
create = true
resume = true
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str) -> None:
    Path("pipecopy.toml").write_text(text, encoding="utf-8")
    Path("pipecopy.toml").chmod(0o600)


def test_lists_of_columns() -> None:
    write(SIZES.replace("""["id", "a, b", 'c"d']""", '["a, b"]'))
    assert asked("copy", "nightly").selection.columns == ("a, b",)
    write('[jobs.some]\nexclude = "secret"\nsource = "service=a"\ntarget = "service=b"')
    assert asked("verify", "some").selection.exclude == ("secret",)
    excluded = asked("check", "some", PIPECOPY_EXCLUDE='b,"a, c"').selection.exclude
    assert excluded == ("b", '"a, c"')


def test_a_job_has_a_value_for_every_option() -> None:
    write(SIZES)
    command = asked("copy", "nightly")
    assert (command.source, command.target) == ("prod", "stats")
    assert command.connections == {
        "prod": "service=prod",
        "stats": "postgresql://stats.internal/dwh",
    }
    assert (command.selection.table, command.selection.target_table) == (
        "public.profiles",
        '"Profiles"',
    )
    assert command.selection.columns == ("id", "a, b", 'c"d')
    assert (command.selection.key, command.selection.session_pooler) == ("number", True)
    assert command.ids == IdRange(from_id=10, to_id=20)
    assert command.limits == Limits(
        batch_size=500,
        max_retries=5,
        retries_delay=0.5,
        call_timeout=10.0,
        full_copy_timeout=21_600.0,
        max_batch_bytes=1_000_000,
        batch_time=2.0,
    )
    assert (command.how.create, command.how.resume, command.output.quiet) == (True, True, True)


def test_the_command_line_is_before_the_environment_before_the_job_before_the_defaults() -> None:
    write(SIZES)
    environ = {"PIPECOPY_BATCH_SIZE": "600", "PIPECOPY_RETRIES_DELAY": "2s"}
    limits = asked("copy", "nightly", "--batch-size", "700", **environ).limits
    assert (limits.batch_size, limits.retries_delay) == (700, 2.0)
    assert (limits.max_retries, limits.call_timeout, limits.read_ahead) == (5, 10.0, 1)
    command = asked("copy", "nightly", "--resume=false", PIPECOPY_CREATE="no")
    assert (command.how.resume, command.how.create) == (False, False)
    assert asked("copy", "nightly", PIPECOPY_SOURCE="stats").source == "stats"


def test_the_columns_to_copy_and_those_to_exclude_take_each_others_place() -> None:
    write('[jobs.few]\ncolumns = ["id"]\nsource = "service=a"\ntarget = "service=b"')
    rest = asked("copy", "few", "--exclude", "secret").selection
    assert (rest.columns, rest.exclude) == (None, ("secret",))
    few = asked("copy", "service=a", "service=b", "--columns", "id", PIPECOPY_EXCLUDE="b").selection
    assert (few.columns, few.exclude) == (("id",), None)
    both = {"PIPECOPY_COLUMNS": "id", "PIPECOPY_EXCLUDE": "b"}
    assert refused("copy", "few", **both).startswith("--exclude does not go with --columns")


def test_what_conflicts_between_a_job_and_the_defaults_may_be_taken_back() -> None:
    write(
        """
        defaults = {source = "host=a", target = "host=b", resume = true, from_id = 9}
        jobs.some.where = "x > 3"
        jobs.first.to_id = 5
        jobs.all.table = "profiles"
        """
    )
    command = asked("copy", "some", "--resume=false")
    assert (command.how.resume, command.selection.where) == (False, "x > 3")
    assert asked("copy", "first", PIPECOPY_FROM_ID="2").ids == IdRange(from_id=2, to_id=5)
    assert asked("copy", "all").how.resume  # whatever the other jobs are
    conflicting = run("copy", "some")
    assert conflicting.returncode == 2
    assert "--resume does not go with --where" in conflicting.stderr


def test_a_job_and_a_variable_may_spare_the_source() -> None:
    write(
        """
        [jobs.nightly]
        source = "service=a"
        target = "service=b"
        max_rate = "20MB"
        pause_file = "/run/pause"
        max_lag = "10s"
        max_load = 20
        """
    )
    config = asked("copy", "nightly").limits.config()
    assert (config.max_rate_bytes, config.max_rate_rows) == (20_000_000, None)
    assert (config.pause_file, config.max_lag, config.max_load) == ("/run/pause", 10.0, 20)
    config = asked("verify", "nightly", PIPECOPY_MAX_RATE="5k rows").limits.config()
    assert (config.max_rate_bytes, config.max_rate_rows) == (None, 5000)


def test_two_names_are_databases_and_take_the_defaults() -> None:
    write(SIZES)
    command = asked("copy", "stats", "service=elsewhere")
    assert (command.source, command.target) == ("stats", "service=elsewhere")
    assert command.connections == {"stats": "postgresql://stats.internal/dwh"}
    limits = command.limits
    assert (limits.max_retries, limits.batch_size, command.how.resume) == (7, 10_000, False)


def test_the_defaults_may_have_the_databases() -> None:
    write(
        """
        defaults.source = "service=prod"
        defaults.target = "postgresql://stats.internal/dwh"
        jobs.nightly.table = "profiles"
        """
    )
    for arguments in (("copy", "nightly"), ("copy",)):
        command = asked(*arguments)
        assert (command.source, command.connections) == ("service=prod", {})


def test_a_job_may_leave_its_databases_to_the_environment() -> None:
    write("jobs.nightly.table = 'profiles'")
    command = asked("copy", "nightly", PIPECOPY_SOURCE="a", PIPECOPY_TARGET="b")
    assert (command.source, command.target) == ("a", "b")
    message = refused("copy", "nightly", PIPECOPY_SOURCE="a")
    assert message == "pipecopy.toml: jobs.nightly has no target"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nigthly",
            'pipecopy.toml has no job "nigthly"; its jobs: nightly (did you mean nightly?)',
        ),
        ("other", 'pipecopy.toml has no job "other"; its jobs: nightly'),
        (
            "prod",
            (
                'pipecopy.toml has no job "prod", but a database of that name:'
                " copy takes a SOURCE and a TARGET, or names of jobs"
            ),
        ),
        (
            "postgresql://me:s3cret@host/db",
            "TARGET not given: copy takes a SOURCE and a TARGET, or names of jobs",
        ),
    ],
)
def test_an_unknown_job_is_answered_with_those_that_there_are(name: str, message: str) -> None:
    write(SIZES)
    assert refused("copy", name) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "prodd stats",
            (
                'SOURCE: "prodd" is not in [databases] of pipecopy.toml (prod, stats), nor a'
                " service in libpq's pg_service.conf, nor a URI or a connection string"
                " (did you mean prod?)"
            ),
        ),
        (
            "stats nightly",
            'TARGET: "nightly" is a job: copy takes jobs alone, without a database',
        ),
        (
            "service=prodd host=b",
            'SOURCE: libpq\'s pg_service.conf has no service "prodd"',
        ),
        (
            "nightly",  # in the file, which may serve other hosts too, its form alone is looked at
            (
                'pipecopy.toml: jobs.nightly.source: the connection string of "prod": libpq\'s'
                ' pg_service.conf has no service "prod"'
            ),
        ),
    ],
)
def test_a_name_that_no_database_has_is_said_before_anything_starts(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        """
        databases = {prod = "service=prod", stats = "host=stats"}
        jobs.nightly = {source = "prod", target = "stats"}
        """
    )
    services = tmp_path / "services"
    services.write_text("[there]\nhost=there\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    ended = run("copy", *arguments.split(), "--json")
    error = json.loads(ended.stdout)["error"]
    assert (error["class"], error["message"], ended.returncode) == ("ConfigError", message, 2)


@pytest.mark.parametrize("name", ["there", "service=there", "service='there' port=1"])
def test_a_service_is_found_as_libpq_finds_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pg_service.conf").write_text("[there]\nhost=there\n")
    monkeypatch.delenv("PGSERVICEFILE")
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))
    assert PostgresPool().check_name(name) is None
    assert PostgresPool().check_name("elsewhere") is not None


def test_a_file_without_jobs_says_so() -> None:
    write("databases.prod = 'service=prod'")
    assert refused("copy", "x") == 'pipecopy.toml has no job "x"; it has no jobs'


def between_databases() -> list[str]:
    """Return the commands that have a source and a target."""
    app, _ = build_app({})
    commands = {name: app[name].default_command for name in app if not name.startswith("-")}
    return [
        name
        for name, command in commands.items()
        if command is not None and "source" in inspect.signature(command).parameters
    ]


@pytest.mark.parametrize("name", between_databases())
def test_one_job_serves_every_command(name: str) -> None:
    """Each takes of it what is its own: a copy's `create` is nothing to `verify`."""
    write(SIZES)
    assert set(asked(name, "nightly").connections) == {"prod", "stats"}


@pytest.mark.parametrize("name", between_databases())
def test_every_command_warns_of_a_password_on_the_command_line(name: str) -> None:
    assert not warned(name, "service=prod", "postgresql://stats.internal/dwh")
    (warning,) = warned(name, "service=prod", "postgresql://me:s3cret@stats.internal/dwh")
    assert warning.startswith("the password in TARGET is visible to everyone who may list")
    assert not warned(name, PIPECOPY_SOURCE="password=s3cret", PIPECOPY_TARGET="b")


def test_a_job_runs_and_shows_its_databases_by_name(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 500)
    create_profiles(target_db)
    write(
        f"""
        databases.prod = "{source_db.uri}"
        databases.stats = "{target_db.conninfo}"
        defaults.call_timeout = "10s"
        [jobs.nightly]
        source = "prod"
        target = "stats"
        batch_size = 100
        json = true
        """
    )
    result = run("copy", "nightly", "--batch-size", "250")
    report = json.loads(result.stdout)
    assert result.returncode == 0, result.stderr
    assert (report["source"], report["target"], report["batches"]) == ("prod", "stats", 2)
    assert "copying profiles from prod to stats" in result.stderr
    assert source_db.name not in result.stderr + result.stdout
    assert_equal_tables(source_db, target_db)


def test_a_password_in_the_file_is_not_shown_by_an_error(
    pg16: PostgresServer, target_db: TemporaryDatabase
) -> None:
    source = pg16.uri(user=PASSWORD_USER, password="wr0ng-one")  # noqa: S106 - it is wrong
    write(f"databases.prod = '{source}'\ndatabases.stats = '{target_db.uri}'")
    result = run("copy", "prod", "stats", "--json", "--traceback")
    assert result.returncode == 3
    assert "failed: source prod: connect failed" in result.stderr
    assert "wr0ng-one" not in result.stderr + result.stdout


def test_services_and_password_files_are_libpqs_own(
    pg16: PostgresServer,
    source_db: TemporaryDatabase,
    target_db: TemporaryDatabase,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_profiles(source_db, 100)
    create_profiles(target_db)
    source_db.execute(f"GRANT SELECT ON profiles TO {PASSWORD_USER}")
    services = (
        f"[prod]\nhost={pg16.host}\nport={pg16.port}\ndbname={source_db.name}\n"
        f"user={PASSWORD_USER}\n[warehouse]\nhost={target_db.server.host}\n"
        f"port={target_db.server.port}\ndbname={target_db.name}\nuser=postgres\n"
    )
    (folder / "services").write_text(services)
    (folder / "passwords").write_text(f"*:{pg16.port}:*:{PASSWORD_USER}:{PASSWORD}\n")
    (folder / "passwords").chmod(0o600)
    monkeypatch.setenv("PGSERVICEFILE", str(folder / "services"))
    monkeypatch.setenv("PGPASSFILE", str(folder / "passwords"))
    write("databases.stats = 'warehouse'\njobs.nightly = {source='service=prod', target='stats'}")
    result = run("copy", "nightly")
    assert result.returncode == 0, result.stderr
    assert_equal_tables(source_db, target_db)
    result = run("copy", "prod", "warehouse")  # their own names, without the file
    assert result.returncode == 0, result.stderr
