"""A check names the transactions whose rows a copy that began now could miss."""

from __future__ import annotations

import pytest

from tests.operations.test_settle import NEXT, transaction
from tests.support.databases import Both
from tests.support.profiles import create_profiles
from tests.support.runs import check, warnings

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    ("settle", "says", "remedy"),
    [
        (
            0,
            "a copy that begins now may miss them",
            "copy with `settle`, or run `verify_tables(rep",
        ),
        (30, "a copy would wait for that, 30 s at most (`settle`)", ""),
    ],
)
def test_an_open_transaction_is_a_warning(
    both: Both, settle: float, says: str, remedy: str
) -> None:
    create_profiles(both.source, 10)
    create_profiles(both.target)
    with transaction(both.source, NEXT) as late:
        report = check(both.pool(), settle=settle)
        pid = late.info.backend_pid
    (warning,) = warnings(report)
    assert report.can_start
    assert (warning.side, warning.what) == ("source", "transactions")
    assert warning.message.startswith(f"1 transaction (server session {pid} (postgres, tests)")
    assert warning.message.endswith(says)
    assert (warning.remedy or "").startswith(remedy)
    assert warnings(check(both.pool())) == []


def test_a_sequence_with_a_cache_is_a_warning_of_its_own(both: Both) -> None:
    create_profiles(both.source, 10)
    create_profiles(both.target)
    both.source.execute("ALTER SEQUENCE profiles_id_seq CACHE 50")
    (warning,) = warnings(check(both.pool()))
    assert "gives each session 50 ids at a time (CACHE 50)" in warning.message
    assert warning.remedy == 'ALTER SEQUENCE "public"."profiles_id_seq" CACHE 1;'
