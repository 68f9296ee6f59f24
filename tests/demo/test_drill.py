"""The drill: each fault has its line, which says how it ended; nothing is left."""

from __future__ import annotations

import re
from pathlib import Path

from tests.demo.test_demo import folder_of, left_of
from tests.support.command import run
from tests.support.scripts import run_script

KILLED = (
    r"(load|save)_rows of ids \[\d+, \d+\) was killed after 1(\.[012]\d?)? s \(limit 1 s\);"
    r" 1 retry, "
)
FAILED = r"save_rows of ids \[\d+, \d+\) failed after .*; no retry: exit code {}"
FAULTS = {
    "deadlock in C": KILLED,
    "stopped worker": KILLED,
    "lock": KILLED,
    "silent network": KILLED,
    "killed server": FAILED.format(75),
    "DDL in mid-copy": FAILED.format(5),
}


def test_each_fault_is_told_in_a_line_and_ends_as_promised() -> None:
    result = run("drill", "--rows", "400", "--call-timeout", "1")
    assert result.returncode == 0, result.stderr
    lines = re.findall(r"^\d/6 (.+?): (.*)$", result.stderr, re.MULTILINE)
    assert [name for name, _ in lines] == [*FAULTS]
    for name, told in lines:
        assert re.search(FAULTS[name], told), told
        assert told.endswith("; verified: 400 rows, equal; ok")
    assert result.stderr.endswith("6 of 6 faults ended as promised\n")
    assert left_of(folder_of(result.stderr)) == []


ENDING = """
import os, signal
from pipecopy.demo.servers import restart, run_sql, servers

with servers({"STATS": 18}, lambda folder: None) as [server]:
    pid_file = server.folder / "data" / "postmaster.pid"
    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGQUIT)
    restart(server)
    print(run_sql((server, "SELECT 1")))
"""


def test_a_server_that_has_not_ended_yet_is_run_again(tmp_path: Path) -> None:
    ended = run_script(tmp_path, ENDING)
    assert ended.stdout == "['1']\n", ended.stderr
