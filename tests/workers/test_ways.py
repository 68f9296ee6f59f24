"""However a program is started, and wherever its modules are, its pool gets into the workers."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.drivers import RecordingPool
from tests.support.scripts import SQLITE

ROOT = Path(__file__).parents[2]
COPY = 'print(copy_table(config, Pool(), "source.sqlite", "target.sqlite").rows)'
SCRIPT = f'{SQLITE}\nif __name__ == "__main__":\n    {COPY}\n'
HELPED = SCRIPT.replace("class Database:", "from .base import Base\nclass Database(Base):")
PYTHON = sys.executable

WAYS: dict[str, list[str]] = {
    "a script": [PYTHON, "script.py"],
    "-c": [PYTHON, "-c", SCRIPT],
    "-c, no guard": [PYTHON, "-c", f"{SQLITE}\n{COPY}"],
    "standard input": [PYTHON, "-"],
    "-i": [PYTHON, "-i", "script.py"],
    "-m a module": [PYTHON, "-m", "script"],
    "-m a package": [PYTHON, "-m", "job"],
    "-m a module of a package": [PYTHON, "-m", "job.run"],
    "a folder": [PYTHON, "folder"],
    "a zipapp": [PYTHON, "job.pyz"],
    "pdb": [PYTHON, "-m", "pdb", "-c", "continue", "-c", "quit", "script.py"],
    "cProfile": [PYTHON, "-m", "cProfile", "-o", os.devnull, "script.py"],
    "runpy": [PYTHON, "-c", "import runpy; runpy.run_path('script.py', run_name='__main__')"],
    "exec": [PYTHON, "-c", "exec(open('script.py').read(), {'__name__': '__main__'})"],
    "no main module": [
        *(PYTHON, "-c", "import sys, runpy; del sys.modules['__main__']; import bare; bare.go()")
    ],
    "no spec": [PYTHON, "-c", "del __spec__; exec(open('script.py').read())"],
    "-I": [PYTHON, "-I", "path.py"],
    "no arguments": [PYTHON, "argv.py"],  # as in a C program that sets none
    "coverage": [PYTHON, "-m", "coverage", "run", "--data-file=covered", "script.py"],
    "IPython": [PYTHON, "-m", "IPython", "--no-banner", "--quick", "script.py"],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_program_copies(sqlite_pool: RecordingPool, tmp_path: Path, way: str) -> None:
    command = WAYS[way]
    if command[1] == "-m" and command[2] in {"coverage", "IPython"}:
        pytest.importorskip(command[2])
    sqlite_pool.create(range(1, 26))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "bare.py").write_text(f"{SQLITE}\ndef go():\n    {COPY}\n")
    (tmp_path / "path.py").write_text(f"import sys\nsys.path += {sys.path!r}\n{SCRIPT}")
    (tmp_path / "argv.py").write_text(SCRIPT.replace(COPY, f"import sys; del sys.argv; {COPY}"))
    for package in ("job", "folder"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__main__.py").write_text(HELPED if package == "job" else SCRIPT)
    (tmp_path / "job" / "run.py").write_text(HELPED)
    (tmp_path / "job" / "base.py").write_text("class Base: pass")
    with zipfile.ZipFile(tmp_path / "job.pyz", "w") as archive:
        archive.writestr("__main__.py", SCRIPT)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ended = subprocess.run(
        command,
        input=SCRIPT if command[-1] == "-" else "",
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "25" in ended.stdout.splitlines(), ended
    assert "Traceback" not in ended.stderr
    assert sqlite_pool.rows("target") == sqlite_pool.rows("source")
