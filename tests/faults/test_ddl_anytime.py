"""Each statement of the kind strikes at random moments; `python -m bench.soak.ddl` has more."""

from __future__ import annotations

import pytest

from tests.faults.anytime import STATEMENTS, strike
from tests.support.checks import Tables

pytestmark = pytest.mark.server

_SEED = 9
_MOMENTS = 4


@pytest.mark.parametrize("name", STATEMENTS)
def test_at_random_moments_no_row_is_missed_or_altered(name: str, alt_tables: Tables) -> None:
    for moment in range(_MOMENTS):
        seed = f"{_SEED} {moment}"
        print(f"seed {seed}")  # noqa: T201 - pytest shows it where this fails
        strike(alt_tables, name, seed)
