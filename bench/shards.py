"""`python -m bench.shards`: sharded copies on a Dask cluster, struck by random faults.

The seed chooses the faults; what they meet is a matter of time, and if a copy ends before its last
one strikes, those that follow are others. After each copy: the rows, the ledger's count, the number
of attempts, and that no process, session or ledger is left. Exit code 0 if all is as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from tests.support.checks import rows_of
from tests.support.command import COMMAND, environment
from tests.support.dask_cluster import DaskCluster, Host
from tests.support.databases import TemporaryDatabase
from tests.support.home import home
from tests.support.leftovers import PATIENCE
from tests.support.profiles import create_profiles
from tests.support.servers import PostgresServer

ROWS = 800
_BATCH, _SHARDS, _JOBS = 20, 8, 2
_LONGEST = 120.0
"""Seconds after which a command is given up."""
_MOST_COMMANDS = 12
SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END$$;
    CREATE TRIGGER slow BEFORE INSERT ON profiles FOR EACH STATEMENT EXECUTE FUNCTION slow()
"""
_ATTEMPTS = "SELECT coalesce(sum(attempt), 0) FROM pipecopy_shards"
_RUN = "SELECT min(run) FROM pipecopy_shards"
_LEDGER = "SELECT to_regclass('pipecopy_shards')"


@dataclass
class Chaos:
    """Copies that are struck, and what was seen."""

    source: TemporaryDatabase
    target: TemporaryDatabase
    dask: DaskCluster
    random: Random
    folder: Path
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    """Seconds from the kill of a worker with a shard until another attempt has claimed one."""
    explained: int = 0
    """Attempts that the faults of this copy may have lost."""
    attempts: int = 0
    """That this copy took, as far as the ledger was looked at."""

    def copy(self, faults: int) -> None:
        """Copy the table into the emptied one, while so many faults strike."""
        self.target.execute("TRUNCATE profiles")
        self.explained = self.attempts = 0
        struck = list[str]()
        for number in range(_MOST_COMMANDS):
            code = self._command(number, faults - len(struck), struck)
            if code == 0:
                break
        else:
            struck.append(f"not complete after {_MOST_COMMANDS} commands: {self._said()}")
        for wrong in self._wrong():
            self.wrong.append(f"{', '.join(struck)}: {wrong}")

    def _command(self, number: int, faults: int, struck: list[str]) -> int:
        run = self._value(_RUN)
        dask = ("--dask", self.dask.address) if faults > 0 or number % 2 == 0 else ()
        planned = ("--run", str(run)) if run else ("--shards", str(_SHARDS))
        limits = ("--batch-size", str(_BATCH), "--call-timeout", "20s", "--jobs", str(_JOBS))
        sides = (self.source.uri, self.target.uri)
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [*COMMAND, "copy", *sides, *planned, *dask, *limits, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + _LONGEST
        while process.poll() is None and time.monotonic() < deadline:
            if faults > 0 and dask and self.dask.copying:
                faults -= 1
                time.sleep(self.random.uniform(0, 0.5))  # the moment itself is the case
                struck.append(self._strike(process))
            self._look()
            time.sleep(0.05)  # a table sends no events
        process.kill()
        return process.wait()

    def _strike(self, command: subprocess.Popen[bytes]) -> str:
        name = self.random.choice(list(_FAULTS))
        host = self.random.choice(self.dask.hosts)
        had_shard, before = bool(host.copying), self._look()
        lost = _FAULTS[name](self, host, command)
        self.explained += lost
        self.faults[name] += 1
        if name == "worker" and had_shard:
            began = time.monotonic()
            while self._look() == before and time.monotonic() < began + _LONGEST:
                if command.poll() is not None:
                    return name
                time.sleep(0.005)
            self.back.append(time.monotonic() - began)
        if missing := 2 - len(self.dask.hosts):
            self.dask.add_hosts(missing)
        return name

    def _look(self) -> int:
        self.attempts = max(self.attempts, int(self._value(_ATTEMPTS) or 0))
        return self.attempts

    def _value(self, sql: str) -> Any:
        with suppress(psycopg.errors.UndefinedTable):
            return self.target.value(sql)
        return None

    def _said(self) -> str:
        return (self.folder / "err").read_text()

    def _wrong(self) -> Iterator[str]:
        """Yield what is not as it should be after a copy."""
        try:
            rows = json.loads((self.folder / "out").read_text())["rows"]
        except ValueError:
            rows = None
        if rows != ROWS:
            yield f"the ledger counted {rows} rows of {ROWS}: {self._said()}"
        if rows_of(self.source) != rows_of(self.target):
            yield "the rows differ"
        if self.target.value("SELECT count(*) FROM profiles") != ROWS:
            yield "rows are there twice"
        if self._value(_LEDGER) is not None:
            yield "the ledger is still there"
        if self.attempts > _SHARDS + self.explained:
            yield f"{self.attempts} attempts, where {self.explained} may have been lost"
        if "Traceback" in self._said():
            yield self._said()
        began = time.monotonic()
        while left := [*self._left()]:
            if time.monotonic() - began > PATIENCE:
                yield from (f"left behind: {line}" for line in left)
                break
            time.sleep(0.02)  # neither /proc nor pg_stat_activity sends events

    def _left(self) -> Iterator[str]:
        yield from (f"process {process.pid}" for process in self.dask.copying)
        for database in (self.source, self.target):
            for session in database.server.sessions("pipecopy/"):
                yield f"session {session['application_name']}"


def _kill_worker(_: Chaos, host: Host, command: object) -> int:
    del command
    os.kill(host.worker, signal.SIGKILL)
    return 1


def _kill_nanny(chaos: Chaos, host: Host, command: object) -> int:
    del command
    os.kill(host.nanny, signal.SIGKILL)
    chaos.dask.leave(host)
    return 1


def _drain(chaos: Chaos, host: Host, command: object) -> int:
    del command
    os.kill(host.nanny, signal.SIGTERM)
    chaos.dask.leave(host)
    return 2


def _kill_host(chaos: Chaos, host: Host, command: object) -> int:
    del command
    chaos.dask.remove(host)
    return 1


def _kill_copy(_: Chaos, host: Host, command: object) -> int:
    """Kill one of the copy's own workers."""
    del command
    for process in host.copying[:1]:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return 1


def _freeze(_: Chaos, host: Host, command: object) -> int:
    """Freeze a host for a second: nobody gives it up for that."""
    del command
    host.kill(signal.SIGSTOP)
    time.sleep(1)
    host.kill(signal.SIGCONT)
    return 1


def _kill_scheduler(chaos: Chaos, host: object, command: object) -> int:
    """Start another one: the hosts end by themselves."""
    del host, command
    os.kill(chaos.dask.scheduler, signal.SIGKILL)
    chaos.dask.lose_hosts()
    chaos.dask.start_scheduler()
    return 3 * _JOBS


def _kill_command(_: Chaos, host: object, command: subprocess.Popen[bytes]) -> int:
    del host
    command.kill()
    return 2 * _JOBS


_FAULTS: dict[str, Callable[[Chaos, Host, subprocess.Popen[bytes]], int]] = {
    "worker": _kill_worker,
    "nanny": _kill_nanny,
    "drained": _drain,
    "host": _kill_host,
    "copy's own worker": _kill_copy,
    "frozen for 1 s": _freeze,
    "scheduler": _kill_scheduler,
    "command": _kill_command,
}
"""Each returns how many attempts it may cost."""


def _table(server: PostgresServer, rows: int) -> TemporaryDatabase:
    server.create_database("shards")
    database = TemporaryDatabase(server, "shards")
    create_profiles(database, rows)
    return database


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.shards",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--faults", type=int, default=50, help="in all; default: 50")
    options = parser.parse_args()
    random, done = Random(options.seed), 0
    folder = Path(tempfile.mkdtemp(prefix="shards-", dir=home()))
    with PostgresServer(16) as prod, PostgresServer(18) as stats, DaskCluster(folder) as dask:
        source, target = _table(prod, ROWS), _table(stats, 0)
        target.execute(SLOW)
        dask.start_scheduler()
        dask.add_hosts(2)
        chaos = Chaos(source, target, dask, random, folder)
        while done < options.faults:
            faults = min(random.randint(1, 3), options.faults - done)
            chaos.copy(faults)
            done += faults
            print(f"{done} faults, {len(chaos.wrong)} wrong", file=sys.stderr, flush=True)
    for line in chaos.wrong:
        print(line)
    back = sorted(chaos.back)
    took = f"; back in {back[len(back) // 2]:.2f} s (median), {back[-1]:.2f} s" if back else ""
    counts = ", ".join(f"{count} {what}" for what, count in chaos.faults.most_common())
    print(f"{sum(chaos.faults.values())} faults: {counts}; {len(chaos.wrong)} wrong{took}")
    sys.exit(1 if chaos.wrong else 0)


if __name__ == "__main__":
    main()
