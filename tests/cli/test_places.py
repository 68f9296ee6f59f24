"""Where pipecopy.toml is looked for, and what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipecopy.cli.app import build_app
from pipecopy.errors import ConfigError
from tests.support.asked import asked, refused, warned

ROOT = Path(__file__).parents[2]
TAKES = "copy takes a SOURCE and a TARGET, or names of jobs"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Work in a folder of the test's own; the others are the user's and two of the system."""
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{tmp_path / 'site'}:{tmp_path / 'xdg'}")
    return [here, *(tmp_path / name / "pipecopy" for name in ("home", "site", "xdg"))]


def write(folder: Path, table: str, job: str = "nightly") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (path := folder / "pipecopy.toml").write_text(
        f"""
        databases = {{prod = "host=prod", stats = "host=stats"}}
        jobs.{job} = {{source = "prod", target = "stats", table = "{table}"}}
        """
    )
    return path


def test_the_first_file_is_the_one_that_is_read(folders: list[Path]) -> None:
    """The working directory's, the user's, the system's: they are not put together."""
    for number, folder in reversed([*enumerate(folders)]):
        write(folder, f"of_{number}")
        assert asked("copy", "nightly").selection.table == f"of_{number}"
    assert not warned("copy", "nightly")


def test_without_a_file_the_message_says_where_there_is_none(folders: list[Path]) -> None:
    _, user, site, xdg = folders
    none = f"there is no pipecopy.toml in the working directory, {user}, {site}, {xdg} or"
    assert refused("copy", "nightly") == (
        f'there is no job "nightly": {none} /etc/pipecopy, and neither --config nor PIPECOPY_CONFIG'
        f" names a file; {TAKES}"
    )


def test_a_message_about_the_file_has_the_path_of_the_one_found(folders: list[Path]) -> None:
    here, user, site, _ = folders
    path = write(site, "orders")
    none = f"there is no pipecopy.toml in the working directory or {user}"
    assert refused("copy", "hourly") == f'{path} has no job "hourly"; its jobs: nightly; {none}'
    write(here, "orders", job="hourly")
    first = f"{path} is not read: pipecopy.toml is first"
    assert refused("copy", "nightly") == (
        f'pipecopy.toml has no job "nightly"; its jobs: hourly; {first}'
    )
    path.write_text("jobs.nightly.batch_size = 0")
    (here / "pipecopy.toml").unlink()
    assert refused("copy", "a", "b").startswith(f"{path}: jobs.nightly.batch_size must be")


def test_one_that_cannot_be_read_is_passed_over_with_a_warning(folders: list[Path]) -> None:
    here, user, *_ = folders
    (here / "pipecopy.toml").mkdir()
    path = write(user, "orders")
    unread = "pipecopy.toml can't be read: Is a directory"
    assert warned("copy", "nightly") == [f"{unread}; this run goes on with {path}"]


def test_a_folder_that_cannot_be_one_has_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's home directory may be /dev/null, or not known; a path has to be absolute."""
    for home in ("/dev/null", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", home)
        assert not warned("copy", "a", "b")
    assert "relative" not in refused("copy", "nightly")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    script = """
import os
from pipecopy.cli.app import build_app
from pipecopy.errors import ConfigError
from tests.support.asked import asked, refused
refused("copy", "nightly")  # imports the rest: the interpreter may be root's own
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(54321)
    del os.environ["HOME"]
os.chdir("/")
print(refused("copy", "nightly"))
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    ).stdout
    assert "there is no pipecopy.toml in the working directory" in said
    assert "~" not in said


def test_an_unknown_database_is_answered_with_where_it_was_looked_for(folders: list[Path]) -> None:
    def unknown(*arguments: str) -> str:
        app, configuration = build_app({})
        app.parse_args(list(arguments))
        with pytest.raises(ConfigError) as caught:
            configuration.check_names()
        return str(caught.value)

    assert (
        unknown("copy", "x", "y").count("; there is no pipecopy.toml in the working directory") == 1
    )
    path = write(folders[1], "orders")
    assert f'"prodd" is not in [databases] of {path} (prod, stats)' in unknown(
        "copy", "prodd", "stats"
    )
    path.write_text("")
    assert f"; {path} has no databases" in unknown("copy", "x", "y")
    assert "pipecopy.toml" not in unknown("copy", "service=x", "host=y")  # no name of this file
