"""What else copies a table: other tools, each run as a command, and a loop written by hand."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psycopg

from bench.contenders import LONGEST, CommandError, Contender
from bench.servers import Databases

_PGLOADER = """\
LOAD DATABASE FROM {source} INTO {target}
WITH data only
INCLUDING ONLY TABLE NAMES MATCHING 'profiles' IN SCHEMA 'public';
"""
_UPSERT_BATCH = 10_000  # rows


class Pgcopydb(Contender):
    """`copy table-data` with one job: the data alone, so that the target's table stays as it is.

    (`copy-db` would create the table again, and build the key's index after the data.) It is timed
    until the VACUUM ANALYZE that it always ends with begins, since nobody else does one.
    """

    name = "pgcopydb"
    title = "pgcopydb copy table-data, one job"
    kind = "peer"

    def missing(self) -> str | None:
        return None if shutil.which("pgcopydb") else "no pgcopydb on this machine"

    def copy(self, databases: Databases) -> float:
        command = [
            *("pgcopydb", "copy", "table-data", "--table-jobs", "1", "--not-consistent"),
            *("--source", databases.source_conninfo),
            *("--target", databases.target_conninfo),
            *("--dir", "pgcopydb"),
        ]
        seconds, _ = _run(command, until="VACUUM ANALYZE")
        return seconds


class Pgloader(Contender):
    """`LOAD DATABASE … WITH data only`, and its own defaults."""

    name = "pgloader"
    title = "pgloader, data only"
    kind = "peer"
    once = True

    def missing(self) -> str | None:
        return None if shutil.which("pgloader") else "no pgloader on this machine"

    def copy(self, databases: Databases) -> float:
        text = _PGLOADER.format(source=databases.source.uri, target=databases.target.uri)
        with tempfile.TemporaryDirectory(prefix="pipecopy-bench-") as folder:
            file = Path(folder, "copy.load")
            file.write_text(text)
            seconds, output = _run(["pgloader", "--root-dir", folder, str(file)])
        if "ERROR" in output or "FATAL" in output:  # it ends with code 0 all the same
            raise CommandError(output[-2000:])
        return seconds


class Sling(Contender):
    """`sling run --mode truncate`: the target's table stays as it is. The wheel has its binary.

    All its modes load into a table of their own first, and then into the target.
    """

    name = "sling"
    title = "Sling, mode truncate"
    kind = "peer"
    once = True

    @property
    def _binary(self) -> Path | None:
        spec = importlib.util.find_spec("sling_linux_amd64")
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0], "bin", "sling-linux-amd64")

    def missing(self) -> str | None:
        return None if self._binary else "no wheel sling-linux-amd64"

    def copy(self, databases: Databases) -> float:
        command = [
            *(str(self._binary), "run", "--mode", "truncate"),
            *("--src-conn", "PROD", "--src-stream", "public.profiles"),
            *("--tgt-conn", "STATS", "--tgt-object", "public.profiles"),
        ]
        env = {
            "PROD": f"{databases.source.uri}?sslmode=disable",
            "STATS": f"{databases.target.uri}?sslmode=disable",
            "SLING_DISABLE_TELEMETRY": "TRUE",
        }
        return _run(command, env=env)[0]


class Dlt(Contender):
    """dlt's fastest way for PostgreSQL that was found: Arrow tables, loaded by COPY.

    The pipeline runs in a process of its own; its imports, two seconds or so, do not count.
    """

    name = "dlt"
    title = "dlt, pyarrow and CSV"
    kind = "peer"
    once = True
    exact = False  # the numbers in a jsonb pass through Python's floats: 1.10 arrives as 1.1

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def missing(self) -> str | None:
        needed = ("dlt", "pyarrow", "psycopg2", "sqlalchemy")
        absent = [name for name in needed if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def copy(self, databases: Databases) -> float:
        # it asks for a password, which no server here does
        source, target = (
            database.server.uri(database.name, password="none")  # noqa: S106
            for database in (databases.source, databases.target)
        )
        script = Path(__file__).with_name("dlt_pipeline.py")
        _, output = _run([sys.executable, "-P", str(script), source, target, str(self.rows)])
        return float(output.split()[-1])


class Upsert(Contender):
    """SELECT by a server-side cursor; upsert by `executemany`, which psycopg pipelines."""

    name = "upsert"
    title = "psycopg SELECT + executemany upsert"
    kind = "peer"
    once = True

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def copy(self, databases: Databases) -> None:
        with (
            psycopg.connect(databases.source_conninfo) as source,
            psycopg.connect(databases.target_conninfo) as target,
            source.cursor("rows") as reader,
            target.cursor() as writer,
        ):
            # as text: neither side decodes a value, and no number is changed by a float
            reader.execute(
                "SELECT id, data::text FROM profiles WHERE id <= %s ORDER BY id", (self.rows,)
            )
            while rows := reader.fetchmany(_UPSERT_BATCH):
                writer.executemany(
                    "INSERT INTO profiles (id, data) VALUES (%s, %s::jsonb)"
                    " ON CONFLICT (id) DO UPDATE SET data = excluded.data",
                    rows,
                )
                target.commit()


def _run(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, until: str | None = None
) -> tuple[float, str]:
    """Run a command to its end; return its seconds and what it wrote to both of its streams.

    With `until`, the seconds are those until it first writes a line with this text.

    Raises:
        CommandError: it ended with another code than 0.

    """
    began = time.monotonic()
    seconds: float | None = None
    lines: list[str] = []
    with _process_group(command, env) as process:
        # a tool that hangs writes nothing, and would be read for ever
        limit = threading.Timer(LONGEST, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                if until is not None and seconds is None and until in line:
                    seconds = time.monotonic() - began
            code = process.wait()
        finally:
            limit.cancel()
    output = "".join(lines)
    if code:
        raise CommandError(f"{Path(command[0]).name} ended with code {code}:\n{output[-2000:]}")
    return time.monotonic() - began if seconds is None else seconds, output


@contextlib.contextmanager
def _process_group(
    command: Sequence[str], env: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process group of its own, which is gone when the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="pipecopy-bench-") as home,
        subprocess.Popen(
            command,
            env={**os.environ, "HOME": home, "TMPDIR": home, **(env or {})},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
