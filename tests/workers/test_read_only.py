"""A machine on which nothing can be written: containers and batch hosts are often read-only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import COMMAND, environment, unstamped

ROOT = Path(__file__).parents[2]
MISSING = "there is no temporary folder"
_BWRAP = """
    bwrap --ro-bind / / --tmpfs /dev --dev-bind /dev/null /dev/null --remount-ro /dev --proc /proc
    --die-with-parent
"""
_UNSHARED = """
for folder in /tmp /var/tmp /usr/tmp "$TMPDIR" "$PWD"; do
    if [ -d "$folder" ]; then
        mount --rbind "$folder" "$folder"
        mount -o remount,bind,ro "$folder"
    fi
done
cd "$PWD"
exec "$@"
"""
READ_ONLY = {
    "bwrap": _BWRAP.split(),  # it has no /dev/shm either, so no semaphore
    "unshare": ["unshare", "--mount", "--map-root-user", "sh", "-ec", _UNSHARED, "sh"],
}
SCRIPT = """
import tempfile
from pipecopy import Config, copy_table

class Memory:
    def close(self): pass
    def get_max_id(self): return 3
    def load_rows(self, a, b): return [(n, "x") for n in (1, 2, 3) if a <= n < b]
    def save_rows(self, rows): pass

class Pool:
    def connect(self, name): return Memory()

if __name__ == "__main__":
    config = Config(
        batch_size=2, max_retries=0, retries_delay=1, call_timeout=10, full_copy_timeout=30
    )
    print(copy_table(config, Pool(), "a", "b").rows)
    try:
        print(tempfile.gettempdir())
    except FileNotFoundError:
        print("there is no temporary folder")
"""


@pytest.fixture(params=READ_ONLY)
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Sequence[str]:
    """Return what makes all read-only for the command that follows."""
    by: list[str] = READ_ONLY[request.param]
    if shutil.which(by[0]) is None:
        pytest.skip(f"a read-only machine needs {by[0]}")
    tried = run(*by, "sh", "-c", f"! touch {tmp_path}/written")
    if tried.returncode:
        pytest.skip(f"{by[0]} can't make the machine read-only: {tried.stderr}")
    return by


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"env": environment(), "capture_output": True, "text": True, **options}
    return subprocess.run(command, check=False, timeout=60, **options)


def test_a_copy_needs_no_temporary_folder(read_only: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environ = {**environment(), "PYTHONPATH": str(ROOT)}
    ended = run(*read_only, sys.executable, "script.py", env=environ, cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"3\n{MISSING}\n", "")


def test_the_command_needs_no_temporary_folder(read_only: Sequence[str]) -> None:
    helped = run(*read_only, *COMMAND, "copy", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    nowhere = "host=127.0.0.1 port=1"
    copied = run(*read_only, *COMMAND, "copy", nowhere, nowhere, "--quiet")
    assert unstamped(copied.stderr)[-2].startswith(f"failed: source '{nowhere}': connect failed")
