"""Scripts of users, run as a user runs them: in a process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

# Ten lines and a pool, as the guide shows them.
SQLITE = """
import sqlite3
from pipecopy import Config, copy_table

class Database:
    def __init__(self, path):
        self.db = sqlite3.connect(path)
    def get_max_id(self):
        return self.db.execute("SELECT coalesce(max(id), 0) FROM profiles").fetchone()[0]
    def load_rows(self, a, b):
        return self.db.execute("SELECT * FROM profiles WHERE id >= ? AND id < ?", (a, b)).fetchall()
    def save_rows(self, rows):
        with self.db:
            self.db.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?)", rows)
    def close(self):
        self.db.close()

class Pool:
    def connect(self, path):
        return Database(path)

config = Config(
    batch_size=10, max_retries=0, retries_delay=1, call_timeout=10, full_copy_timeout=30
)
"""


def run_script(
    folder: Path, *parts: str, by: Any = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Write the parts to a script in the folder and run it there.

    It is run by another `python` if one is given, and that `by` another program.
    """
    script = folder / "script.py"
    script.write_text("\n".join(textwrap.dedent(part) for part in parts))
    options = {"capture_output": True, "text": True, "timeout": 60, "cwd": folder, **options}
    python = options.pop("python", sys.executable)
    return subprocess.run([*by, python, script], check=False, **options)
