"""The matrix: what strikes in a worker, in each call, on either side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cases import CASES, FROZEN, Case
from tests.faults.checks import Tables, check, run_copy
from tests.faults.frozen import FrozenFolder
from tests.faults.injected import FaultyPool
from tests.support import drivers


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FrozenFolder]:
    """Give a folder in which writing is an uninterruptible sleep."""
    folder = FrozenFolder(tmp_path)
    try:
        folder.freeze()
        monkeypatch.setenv(drivers.FROZEN, str(folder.path))
        yield folder
    finally:
        folder.remove()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fault(
    case: Case, small_tables: Tables, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    frozen = request.getfixturevalue("frozen") if case.fault == FROZEN else None
    ended = run_copy(FaultyPool(small_tables.pool(), tmp_path, (case.strike,)))
    if frozen is not None:
        frozen.thaw()
    check(ended, small_tables, case.expected)
