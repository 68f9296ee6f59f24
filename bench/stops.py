"""`python -m bench.stops`: copies stopped at random moments, by each signal, to it and its group.

After each: the exit code, the last line, each row below `next_id`, no row beyond it (so that the
batch in flight was finished, or not begun), nothing left. With --shards the ledger has a `next_id`
for each shard. Exit code 0 if all is as it should be.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from bench.soak.scene import MARK, marked
from tests.support.checks import rows_of
from tests.support.command import COMMAND, environment
from tests.support.databases import TemporaryDatabase
from tests.support.home import home
from tests.support.leftovers import PATIENCE
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer, running_servers

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
To = Literal["it", "its group"]
_BATCH = 50
_KNOWN = (" ids from ", " at once")
"""What the command writes once it knows which ids it copies, or which shards."""
_LEDGER = "pipecopy_shards"
_LONGEST = 30.0
"""Seconds after which a copy is given up."""
_STOP = 2.0
"""Seconds from the signal to the end, at most: a batch takes milliseconds, a busy machine more."""
_AS_PYTHON_STARTS = {signal.SIGINT: {1}}
"""What Python exits with, if not by the signal, before the first line of pipecopy."""


@dataclass
class Stops:
    """Copies that are stopped, and what was seen."""

    source: TemporaryDatabase
    target: TemporaryDatabase
    folder: Path
    """For the output of the commands."""
    left: Callable[[], list[str]]
    """Looks for what is left behind."""
    shards: int = 0
    """Of each copy; 0 for a copy without shards."""
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """From each signal to the end of the command."""

    def stop(self, signum: signal.Signals, to: To, after: float, *, in_copy: bool) -> None:
        """Copy into the emptied table, and stop it so many seconds after its start.

        If `in_copy`, after the ids are known: the first batch is about to be loaded.
        """
        self._empty_target()
        process = self._start()
        try:
            if in_copy:
                self._wait_for_ids(process)
            began = time.monotonic()
            time.sleep(after)  # the moment itself is the case
            if to == "it":
                process.send_signal(signum)
            elif process.poll() is None:
                os.killpg(process.pid, signum)
            sent = time.monotonic()
            code = process.wait(_LONGEST)
            self.seconds.append(time.monotonic() - sent)
        finally:
            process.kill()
            process.wait()
        since = "the ids were known" if in_copy else "the start"
        what = f"{signum.name} to {to} {sent - began:.3f} s after {since}, exit code {code}"
        for wrong in self._wrong(signum, code):
            self.wrong.append(f"{what}: {wrong}")

    def seconds_of_a_copy(self) -> tuple[float, float]:
        """Copy all; return the seconds until the ids were known, and those from then on."""
        self._empty_target()
        began, process = time.monotonic(), self._start()
        self._wait_for_ids(process)
        known = time.monotonic()
        if process.wait(_LONGEST):
            raise RuntimeError(f"a copy failed: {self._said()}")
        return known - began, time.monotonic() - known

    def _empty_target(self) -> None:
        self.target.execute(
            f"SET lock_timeout = '5s'; TRUNCATE profiles; DROP TABLE IF EXISTS {_LEDGER}"
        )

    def _wait_for_ids(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _LONGEST
        while not any(known in self._said() for known in _KNOWN) and process.poll() is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"a copy does not begin: {self._said()}")
            time.sleep(0.002)  # a file sends no events

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            return subprocess.Popen(
                [
                    *(*COMMAND, "copy", self.source.uri, self.target.uri, "--json"),
                    *("--batch-size", str(_BATCH)),
                    *(("--shards", str(self.shards), "--jobs", "2") if self.shards else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(),
                start_new_session=True,
            )

    def _said(self) -> str:
        return (self.folder / "err").read_text()

    def _wrong(self, signum: signal.Signals, code: int) -> Iterator[str]:
        """Yield what is not as it should be."""
        said, out = self._said(), (self.folder / "out").read_text()
        if self.seconds[-1] > _STOP:
            yield f"it took {self.seconds[-1]:.2f} s to end"
        if "pipecopy" not in said and code in {-signum, *_AS_PYTHON_STARTS.get(signum, set())}:
            self.ends["as Python started"] += 1
        elif code not in {0, 128 + signum}:
            yield f"the exit code is not {128 + signum}: {said}"
        else:
            yield from self._wrong_end(json.loads(out), said)
        began = time.monotonic()
        while left := self.left():
            if time.monotonic() - began > PATIENCE:
                yield from (f"left behind: {line}" for line in left)
                break
            time.sleep(0.01)  # neither /proc nor pg_stat_activity sends events

    def _wrong_end(self, result: dict[str, Any], said: str) -> Iterator[str]:
        """Yield what is wrong with an end of pipecopy's own."""
        outcome, next_id, max_id = (result[name] for name in ("outcome", "next_id", "max_id"))
        last, next_id = said.splitlines()[-1], next_id or 0
        began = bool(result["shards"]) if self.shards else 0 < next_id <= (max_id or 0)
        if outcome == "complete":
            self.ends["complete"] += 1
            if " complete: " not in last:
                yield f"the last line is {last}"
        else:
            self.ends["in mid-copy" if began else "before the first batch"] += 1
            go_on = "to go on: run it again: it is safe"
            if began and self.shards:
                go_on = f" --run {result['run_id']}`: it is safe"
            elif began:
                go_on += f"; with --from-id {next_id} it begins where this one ended"
            if go_on not in last:
                yield f"the last line is {last}"
        if "Traceback" in said:
            yield said
        yield from self._wrong_rows(self._ends(next_id, complete=outcome == "complete"))

    def _ends(self, next_id: int, *, complete: bool) -> list[tuple[int, int, float]]:
        """Return what is in the target: of each range of ids the first, the end, and the last.

        The ids from the end to the last are not.
        """
        if not self.shards or complete:
            return [(0, next_id, math.inf)]
        if self.target.value(f"SELECT to_regclass('{_LEDGER}')") is None:
            return [(0, 0, math.inf)]
        found = self.target.query(f'SELECT "first", "next_id", "last" FROM {_LEDGER}')
        return [(first, int(end), last) for first, end, last in found] or [(0, 0, math.inf)]

    def _wrong_rows(self, ends: Sequence[tuple[int, int, float]]) -> Iterator[str]:
        source, target = rows_of(self.source), rows_of(self.target)
        for first, end, last in ends:
            if missing := {row for row in source if first <= row[0] < end} - target:
                yield f"{len(missing)} rows from {first} to below {end} are not in the target"
            if beyond := [row for row in target if end <= row[0] <= last]:
                yield f"{len(beyond)} rows from {end} to {last} are in the target"


def stop_at_random_moments(stops: Stops, random: Random, moments: int) -> None:
    """Stop so many copies by each signal, to the command and to its group."""
    start, rest = stops.seconds_of_a_copy()
    for number in range(moments):
        for signum in SIGNALS:
            for to in ("it", "its group"):
                in_copy = number % 4 != 1
                after = random.uniform(0, rest if in_copy else start)
                stops.stop(signum, to, after, in_copy=in_copy)


def _left(folder: Path) -> list[str]:
    own = os.getpid()
    return [
        *(f"process {process}" for process in marked() if process.pid != own),
        *(f"file {path}" for path in folder.iterdir()),
        *(
            f"session {session['application_name']}"
            for server in running_servers()
            for session in server.sessions("pipecopy/")
        ),
    ]


def _table(server: PostgresServer, rows: int) -> TemporaryDatabase:
    server.create_database("stops")
    database = TemporaryDatabase(server, "stops")
    create_profiles(database, rows)
    return database


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.stops",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--moments", type=int, default=50, help="for each signal; default: 50")
    parser.add_argument("--rows", type=int, default=10_000, help="of the table; default: 10000")
    parser.add_argument("--shards", type=int, default=0, help="of each copy; default: none")
    options = parser.parse_args()
    for signum in SIGNALS:  # what nohup or `&` has ignored would be ignored by the commands
        signal.signal(signum, signal.default_int_handler)
    with PostgresServer(16) as prod, PostgresServer(18) as stats:
        source, target = (_table(prod, options.rows), _table(stats, 0))
        folder = Path(tempfile.mkdtemp(prefix="stops-", dir=home()))
        (temporary := folder / "tmp").mkdir()
        os.environ["TMPDIR"] = str(temporary)
        os.environ[MARK] = f"{os.getpid()} {time.monotonic_ns()}"
        stops = Stops(source, target, folder, lambda: _left(temporary), options.shards)
        stop_at_random_moments(stops, Random(options.seed), options.moments)
    for line in stops.wrong:
        print(line)
    counts = ", ".join(f"{count} {what}" for what, count in stops.ends.most_common())
    seconds = sorted(stops.seconds)
    print(
        f"{len(seconds)} stopped: {counts}; {len(stops.wrong)} wrong; from the signal to the end"
        f" {seconds[len(seconds) // 2]:.3f} s (median), {seconds[-1]:.3f} s (longest)"
    )
    sys.exit(1 if stops.wrong else 0)


if __name__ == "__main__":
    main()
