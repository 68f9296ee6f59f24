"""A driver that writes down what its worker has inherited.

A worker imports it in its first call: it is in a file of its own, without pytest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.drivers import RecordingDatabase, RecordingPool


@dataclass(frozen=True)
class LookingPool(RecordingPool):
    """Writes what each worker of the source has inherited to a file."""

    def connect(self, dbname: str) -> RecordingDatabase:
        if dbname == "source":
            seen = f"{os.environ.get('SEEN')} {Path.cwd().name} {os.getppid()}"
            (self.folder / "seen").write_text(seen)
        return super().connect(dbname)

    def seen(self) -> list[str]:
        """Return the variable, the working directory, and the process id of the fork server."""
        return (self.folder / "seen").read_text().split()
