"""What the screen says of a verification, as pure functions."""

from __future__ import annotations

import pytest

from pipecopy.cli.idranges import id_ranges
from pipecopy.cli.progress import Progress
from pipecopy.cli.text import event_line, status_line
from pipecopy.config import Config
from pipecopy.events import DifferencesFound, RangeKnown, RangeVerified, RunStarted


@pytest.mark.parametrize(
    ("ids", "count", "text"),
    [
        ([12], 1, "12"),
        ([5, 6, 7, 8, 9, 12], 6, "5-9, 12"),
        (list(range(100)), 100, "0-99"),
        (list(range(1000)), 1001, "0-999, …"),
        (list(range(0, 22, 2)), 11, "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, …"),
        (list(range(0, 20, 2)), 10, "0, 2, 4, 6, 8, 10, 12, 14, 16, 18"),
    ],
)
def test_ids_are_written_as_ranges(ids: list[int], count: int, text: str) -> None:
    assert id_ranges(ids, count=count) == text


def test_the_status_line_on_the_way() -> None:
    config = Config(
        batch_size=10, max_retries=0, retries_delay=0, call_timeout=1, full_copy_timeout=10
    )
    started = RunStarted(
        run_id="0123456789ab",
        source="prod",
        target="stats",
        config=config,
        mode="verify",
    )
    verified = RangeVerified(key_range=(0, 500), rows=499, missing=1, surplus=2, differing=3)
    progress = (
        Progress()
        .after(started, 100.0)
        .after(RangeKnown(first_id=0, max_id=999), 100.0)
        .after(verified, 101.0)
    )
    assert status_line(progress, 101.0) == (
        "50%, 499 rows, 499 rows/s, 6 differences, 0 kills, 0 retries, next id 500 of 999, ETA 1s"
    )
    assert event_line(started) == 'verifying "stats" by "prod", run 0123456789ab'


def test_the_line_of_what_was_found() -> None:
    event = DifferencesFound(missing=(1, 2, 3), surplus=(), differing=(9,))
    assert event_line(event) == "missing in the target: 1-3; differing: 9"
