"""Who copies: psql's pipe is the limit, pipecopy is measured, and the floor is below both."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Literal

import psycopg

from bench.servers import Databases
from pipecopy import Config, CopyReport, Observer, copy_table

Kind = Literal["limit", "pipecopy", "floor", "peer"]

LONGEST = 600.0
"""Seconds that one command may take."""
_runs = itertools.count(1)


def start_cold() -> None:
    """Have the next run start as a process's first one does, without the last run's fork server.

    A run with another environment gets a fork server of its own. The variable has no PIPECOPY_
    before it, since the command would look all of its options up to warn of that.
    """
    os.environ["BENCH_OF_PIPECOPY"] = str(next(_runs))


class CommandError(RuntimeError):
    """A command failed."""


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code; unlike `Popen.wait` with a limit, it does not look every 50 ms."""
    poller, pidfd = select.poll(), os.pidfd_open(process.pid)
    try:
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(1000 * LONGEST):
            raise subprocess.TimeoutExpired(process.args, LONGEST)
    finally:
        os.close(pidfd)
    return process.wait()


class Contender:
    """Copies the table from one server to the other."""

    name: str
    """As `--only` takes it."""
    title: str
    kind: Kind
    once = False
    """It is slow: it takes part in the first round alone."""
    rows: int | None = None
    """How many rows it copies, the first ones by id; None for all."""
    exact = True
    """What it copies must be equal to the letter, or the bench ends."""

    def missing(self) -> str | None:
        """Return why it can't take part on this machine."""
        return None

    def prepare(self, databases: Databases) -> None:
        """Do what is not timed."""

    def copy(self, databases: Databases) -> float | None:
        """Copy; return the seconds that count if these are not all."""
        raise NotImplementedError


class Pipe(Contender):
    """`psql COPY | psql COPY`: no batches, no retries, no idempotence."""

    kind = "limit"

    def __init__(self, copy_format: Literal["binary", "text"], *, once: bool = False) -> None:
        self.name = f"pipe-{copy_format}"
        self.title = f"psql COPY {copy_format} | psql COPY {copy_format}"
        self.once = once
        self._format = copy_format

    def start(
        self, databases: Databases
    ) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """Start both sides, the reader and the writer."""
        psql = [databases.psql, "-XqAt", "-v", "ON_ERROR_STOP=1"]
        option = f"(FORMAT {self._format})"
        out = f"COPY (SELECT id, data FROM profiles ORDER BY id) TO STDOUT {option}"
        into = f"COPY profiles (id, data) FROM STDIN {option}"
        reader = subprocess.Popen(
            [*psql, "-c", out, databases.source_conninfo], stdout=subprocess.PIPE
        )
        try:
            writer = subprocess.Popen(
                [*psql, "-c", into, databases.target_conninfo], stdin=reader.stdout
            )
        finally:
            if reader.stdout is not None:
                reader.stdout.close()  # the writer's alone, so that its end ends the reader
        return reader, writer

    def copy(self, databases: Databases) -> None:
        both = self.start(databases)
        try:
            codes = [wait_for(process) for process in reversed(both)]
        finally:
            for process in both:
                process.kill()
                process.wait()
        if any(codes):
            raise CommandError(f"{self.title} failed")


class Pipecopy(Contender):
    """`copy_table`, as a user's program calls it: once."""

    kind = "pipecopy"

    def __init__(
        self, batch_size: int, read_ahead: int, *, batch_time: float | None = None
    ) -> None:
        self.name = f"pipecopy-{batch_size}-{read_ahead}"
        self.title = f"pipecopy, {batch_size:,} a batch, read-ahead {read_ahead}"
        if batch_time is not None:
            self.name += f"-{batch_time:g}s"
            self.title = f"pipecopy, {batch_time:g} s a batch, read-ahead {read_ahead}"
        self.config = Config(
            batch_size=batch_size,
            max_retries=0,
            retries_delay=1,
            call_timeout=120,
            full_copy_timeout=1200,
            read_ahead=read_ahead,
            batch_time=batch_time,
        )

    def copy(self, databases: Databases) -> None:
        self.run(databases)

    def run(self, databases: Databases, observer: Observer | None = None) -> CopyReport:
        """Copy, and return the report."""
        start_cold()
        return copy_table(self.config, databases.pool, "PROD", "STATS", observer=observer)


class Command(Contender):
    """`pipecopy copy`, off a terminal."""

    kind = "pipecopy"

    def __init__(self, batch_size: int) -> None:
        self.name = f"command-{batch_size}"
        self.title = f"pipecopy copy, {batch_size:,} a batch"
        self._batch_size = batch_size

    @contextlib.contextmanager
    def running(self, databases: Databases) -> Iterator[subprocess.Popen[bytes]]:
        """Start it; the block waits for its end, which must be a good one."""
        command = [sys.executable, "-m", "pipecopy", "copy", "--batch-size", str(self._batch_size)]
        command += [databases.source_conninfo, databases.target_conninfo]
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said) as process:
                try:
                    yield process
                finally:
                    if process.poll() is None:
                        process.terminate()  # it stops cleanly
            said.seek(0)
            if process.returncode:
                raise CommandError(f"{self.title} failed: {said.read().decode()}")

    def copy(self, databases: Databases) -> None:
        with self.running(databases) as process:
            wait_for(process)


class Floor(Contender):
    """One psycopg session sends ready-made COPY batches, one after the other, each committed."""

    kind = "floor"

    def __init__(self, batch_size: int) -> None:
        self.name = f"floor-{batch_size}"
        self.title = f"ready-made COPY batches of {batch_size:,}, one session"
        self._batch_size = batch_size
        self._batches: list[bytes] = []

    def prepare(self, databases: Databases) -> None:
        if self._batches:
            return  # in a later round
        size = self._batch_size
        with psycopg.connect(databases.source_conninfo) as source, source.cursor() as cursor:
            row = cursor.execute("SELECT max(id) FROM profiles").fetchone()
            for first in range(1, (row[0] if row else 0) + 1, size):
                query = (
                    f"COPY (SELECT id, data FROM profiles WHERE id BETWEEN {first}"
                    f" AND {first + size - 1} ORDER BY id) TO STDOUT (FORMAT binary)"
                )
                with cursor.copy(query.encode()) as copy:
                    self._batches.append(b"".join(copy))

    def copy(self, databases: Databases) -> None:
        with (
            psycopg.connect(databases.target_conninfo, autocommit=True) as target,
            target.cursor() as cursor,
        ):
            for batch in self._batches:
                with cursor.copy("COPY profiles (id, data) FROM STDIN (FORMAT binary)") as copy:
                    copy.write(batch)
