"""A worker that hangs before its first call: it has a limit too, and another one is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipecopy.errors import CallTimeoutError
from tests.faults.checks import Expected, Tables, check, run_copy
from tests.faults.injected import FaultyPool, HangingPool
from tests.faults.scripts import run_script

_NEVER_CONNECTED = Expected(
    error=CallTimeoutError,
    exit_code=75,
    side="source",
    call="connect",
    words=("all 2 attempts",),
    next_id=0,
)
_EXPECTED = {"once": Expected(retries=1), "always": _NEVER_CONNECTED}
_HANG = """
import time
if __name__ == "{imported_as}" and (not folder.joinpath("hung").exists() or {always}):
    folder.joinpath("hung").touch()
    time.sleep(3600)
"""
_DRIVER = """
import sys
from pathlib import Path
from tests.faults.injected import FaultyPool
folder = Path(__file__).parent
class Pool(FaultyPool): pass
if getattr(sys.modules["__main__"], "__file__", "").endswith("script.py"):
    __name__ = "imported by the script itself, not by a worker"
"""


@pytest.mark.parametrize("often", _EXPECTED)
def test_a_hang_while_the_pool_is_unpickled(
    often: str, small_tables: Tables, tmp_path: Path
) -> None:
    pool = HangingPool(small_tables.pool(), tmp_path, once=often == "once")
    check(run_copy(pool), small_tables, _EXPECTED[often])


@pytest.mark.parametrize("often", _EXPECTED)
def test_a_hang_while_the_script_is_imported(
    often: str, small_tables: Tables, tmp_path: Path
) -> None:
    hang = _HANG.format(imported_as="__mp_main__", always=often == "always")
    ended = run_script(tmp_path, FaultyPool(small_tables.pool(), tmp_path), hang)
    check(ended, small_tables, _EXPECTED[often])


@pytest.mark.parametrize("often", _EXPECTED)
def test_a_hang_while_the_pools_module_is_imported(
    often: str, small_tables: Tables, tmp_path: Path
) -> None:
    # each worker imports it anew, with the script
    hang = _HANG.format(imported_as="driver", always=often == "always")
    (tmp_path / "driver.py").write_text(_DRIVER + hang)
    ended = run_script(
        tmp_path,
        FaultyPool(small_tables.pool(), tmp_path),
        "import driver",
        opened_as="driver.Pool(pool.pool, pool.folder)",
    )
    check(ended, small_tables, _EXPECTED[often])
