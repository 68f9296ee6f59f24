"""A copy in a process of its own: a user's script, whose end is handed back whole."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.checks import Ended

_ROOT = Path(__file__).parents[2]
_LONGEST = 40

_START = """
import pickle
from pathlib import Path
from tests.support.checks import run_copy
folder = Path(__file__).parent
"""
_COPY = """
if __name__ == "__main__":
    pool = pickle.loads((folder / "pool").read_bytes())
    ended = run_copy({pool}, **{limits})
    (folder / "ended").write_bytes(pickle.dumps(ended))
"""


@contextlib.contextmanager
def script_running(
    folder: Path, pool: object, source: str = "", *, opened_as: str = "pool", **limits: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script that copies with the pool; `source` is what it says before that."""
    script = folder / "script.py"
    script.write_text(
        _START + textwrap.dedent(source) + _COPY.format(pool=opened_as, limits=limits)
    )
    (folder / "pool").write_bytes(pickle.dumps(pool))
    path = os.pathsep.join([str(folder), str(_ROOT)])
    with subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": path}) as run:
        try:
            yield run
        finally:
            run.kill()


def run_script(folder: Path, pool: object, source: str = "", **how: Any) -> Ended:
    """Run such a script to its end."""
    with script_running(folder, pool, source, **how) as run:
        assert run.wait(_LONGEST) == 0
    ended: Ended = pickle.loads((folder / "ended").read_bytes())
    return ended
