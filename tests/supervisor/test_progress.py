"""How far a run came, and how long the rest would have taken: the expected line is the test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipecopy.report import CopyReport, Report, VerifyReport
from pipecopy.supervisor.progress import far, rest

REPORT = CopyReport(
    run_id="a", source="b", target="c", rows=400, max_id=999, next_id=401, seconds=2.0
)
VERIFIED = VerifyReport(run_id="a", source="b", target="c", rows=1, max_id=9, next_id=5)


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (REPORT, "every id below 401 (of 999) is in the target: 400 rows in 2 s"),
        (
            replace(REPORT, first_id=100),
            "every id from 100 to 400 (of 999) is in the target: 400 rows in 2 s",
        ),
        (
            replace(REPORT, next_id=1000),
            "every id from 0 to 999 is in the target: 400 rows in 2 s",
        ),
        (replace(REPORT, rows=0, next_id=0), "nothing was copied"),
        (
            replace(REPORT, next_id=0),
            "400 rows had been saved, and it is not known how many of them are still there",
        ),
        (replace(REPORT, max_id=None), None),
        (VERIFIED, "every id below 5 (of 9) was compared: 1 row in 0 s"),
        (replace(VERIFIED, next_id=0), "nothing was compared"),
    ],
)
def test_how_far(report: Report, line: str | None) -> None:
    assert far(report) == line


@pytest.mark.parametrize(
    ("next_id", "seconds", "about"),
    [
        (500, 30, "30 s"),
        (500, 29.2, "30 s"),
        (100, 600, "1h30m"),
        (100, 3600, "9h"),
        (1, 60, "16h40m"),
        (0, 60, None),
        (1000, 60, None),
        (1, 10**6, None),  # longer than any copy may take
    ],
)
def test_how_long_the_rest_would_have_taken(
    next_id: int, seconds: float, about: str | None
) -> None:
    said = rest(replace(REPORT, next_id=next_id), seconds)
    expected = about and f"at this pace the rest would have taken about {about} more"
    assert said == expected
