"""pgcopydb, as Debian packages it."""

from __future__ import annotations

import shutil

from bench.commands import run_command
from bench.contenders.contender import Contender
from bench.servers import Databases


class Pgcopydb(Contender):
    """`copy table-data` with one job: the data alone, so that the target's table stays as it is.

    (`copy-db` would make the table anew, and build the key's index after the data.) It is timed
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
        seconds, _ = run_command(command, until="VACUUM ANALYZE")
        return seconds
