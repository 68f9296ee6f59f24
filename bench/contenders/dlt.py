"""dlt, by its fastest way for PostgreSQL that was found: Arrow tables, loaded by COPY."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from bench.commands import run_command
from bench.contenders.contender import Contender
from bench.servers import Databases


class Dlt(Contender):
    """A pipeline in a process of its own; its imports, two seconds or so, do not count."""

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
        script = Path(__file__).parents[1] / "dlt_pipeline.py"
        _, output = run_command([sys.executable, "-P", str(script), source, target, str(self.rows)])
        return float(output.split()[-1])
