"""A worker that hangs before its first call: it has a limit too, and another one is started.

For what it imports it has 5 s, as the guide says: so these cases are run at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipecopy.errors import CallTimeoutError
from tests.faults.scripts import run_script
from tests.support.checks import Ended, Expected, check, run_copy
from tests.support.drivers import HangingPool, RecordingPool

_EXPECTED = {
    "once": Expected(retries=1),
    "always": Expected(
        error=CallTimeoutError,
        exit_code=75,
        side="source",
        call="connect",
        words=("timed out",),
        next_id=0,
        retries=0,
        warnings=None,  # both sides hang: the target's limit may strike before the source's does
    ),
}
_HANG = """
import time
from tests.support.strikes import is_first
if __name__ == "{imported_as}" and (is_first(folder / "hung") or {always}):
    time.sleep(3600)
"""
_DRIVER = """
import sys
from pathlib import Path
from tests.support.drivers import RecordingPool
folder = Path(__file__).parent
class Pool(RecordingPool): pass
if getattr(sys.modules["__main__"], "__file__", "").endswith("script.py"):
    __name__ = "imported by the script itself, not by a worker"
"""


def _while_the_script_is_imported(folder: Path, often: str, **limits: int) -> Ended:
    hang = _HANG.format(imported_as="__mp_main__", always=often == "always")
    return run_script(folder, RecordingPool(folder), hang, **limits)


def _while_the_pools_module_is_imported(folder: Path, often: str, **limits: int) -> Ended:
    # each worker imports it anew, with the script
    hang = _HANG.format(imported_as="driver", always=often == "always")
    (folder / "driver.py").write_text(_DRIVER + hang)
    opened_as = "driver.Pool(pool.folder)"
    return run_script(folder, RecordingPool(folder), "import driver", opened_as=opened_as, **limits)


_WHILE_IMPORTED = (_while_the_script_is_imported, _while_the_pools_module_is_imported)


@pytest.mark.parametrize("often", _EXPECTED)
def test_a_hang_while_the_pool_is_unpickled(often: str, sqlite_pool: RecordingPool) -> None:
    sqlite_pool.create(range(1, 51))
    (sqlite_pool.folder / often).touch()
    ended = run_copy(HangingPool(sqlite_pool.folder), max_retries=int(often == "once"))
    check(ended, sqlite_pool, _EXPECTED[often])


@pytest.mark.parametrize("often", _EXPECTED)
def test_a_hang_while_something_is_imported(often: str, tmp_path: Path) -> None:
    pools = [RecordingPool(tmp_path / hang.__name__) for hang in _WHILE_IMPORTED]
    for pool in pools:
        pool.folder.mkdir()
        pool.create(range(1, 51))
    with ThreadPoolExecutor(len(pools)) as threads:
        ends = [
            threads.submit(
                hang, pool.folder, often, max_retries=int(often == "once"), call_timeout=2
            )
            for hang, pool in zip(_WHILE_IMPORTED, pools, strict=True)
        ]
    for pool, end in zip(pools, ends, strict=True):
        print(pool.folder.name)  # noqa: T201 - pytest shows it where this fails
        check(end.result(), pool, _EXPECTED[often])
