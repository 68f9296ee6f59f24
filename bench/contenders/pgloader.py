"""pgloader, as Debian packages it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bench.commands import CommandError, run_command
from bench.contenders.contender import Contender
from bench.servers import Databases

_LOAD = """\
LOAD DATABASE FROM {source} INTO {target}
WITH data only
INCLUDING ONLY TABLE NAMES MATCHING 'profiles' IN SCHEMA 'public';
"""


class Pgloader(Contender):
    """`LOAD DATABASE … WITH data only`, and its own defaults."""

    name = "pgloader"
    title = "pgloader, data only"
    kind = "peer"
    once = True

    def missing(self) -> str | None:
        return None if shutil.which("pgloader") else "no pgloader on this machine"

    def copy(self, databases: Databases) -> float:
        text = _LOAD.format(source=databases.source.uri, target=databases.target.uri)
        with tempfile.TemporaryDirectory(prefix="pipecopy-bench-") as folder:
            file = Path(folder, "copy.load")
            file.write_text(text)
            seconds, output = run_command(["pgloader", "--root-dir", folder, str(file)])
        if "ERROR" in output or "FATAL" in output:  # it ends with code 0 all the same
            raise CommandError(output[-2000:])
        return seconds
