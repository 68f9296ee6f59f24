"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest

from pipecopy.units import (
    bytes_of,
    count_of,
    duration_text,
    rate_of,
    seconds_of,
    seconds_text,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("5min", 300),
        ("1d", 86_400),
        ("1d12h", 129_600),
        ("2w", 1_209_600),
        ("0", 0),
        ("0.5", 0.5),
        ("90", 90),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "-5",
        "-5s",
        "5 s",
        "1e3",
        "1_000",
        "s",
        "5x",
        "5mm",
        "1h,30m",
        "\u0665s",
        "1h xx 30m",
    ],
)
def test_an_invalid_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid duration such as 250ms") as caught:
        seconds_of(text)
    assert f'"{text}"' in str(caught.value)


@pytest.mark.parametrize("text", ["116d", "10000001", "99999999999999999h", "9" * 400])
def test_more_than_can_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than 10000000 seconds"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (0.00001, "1ms"),
        (1.5, "1.5s"),
        (30, "30s"),
        (60, "1m"),
        (5400, "1h30m"),
        (21_600, "6h"),
        (86_400, "1d"),
        (90_000.5, "1d1h0.5s"),
        (2_592_000, "30d"),
    ],
)
def test_a_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.1, "0 s"),
        (0, "0 s"),
        (0.0004, "1 ms"),
        (0.25, "250 ms"),
        (0.9996, "1 s"),
        (2.034, "2.03 s"),
        (30.01, "30 s"),
        (59.96, "1m"),
        (95.96, "1m36s"),
        (3661.4, "1h1m1s"),
    ],
)
def test_a_duration_in_a_sentence_has_a_space_below_a_minute(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("0", 0),
        ("4096", 4096),
        ("64MiB", 64 * 1024**2),
        ("64M", 64 * 1024**2),
        ("64Mi", 64 * 1024**2),
        ("64MB", 64_000_000),
        ("10k", 10_240),
        ("1.5G", 3 * 512 * 1024**2),
        ("64 mib", 64 * 1024**2),
        ("500kB", 500_000),
        ("1.5GB", 1_500_000_000),
        ("2TiB", 2 * 1024**4),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1e3", "nan", "64MiBs", "64 M B", "10x", "9" * 5000]
)
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid size"):
        bytes_of(text)


@pytest.mark.parametrize("text", ["64MiB", "3GiB", "1KiB", "1000", "0"])
def test_a_size_is_written_as_people_write_it(text: str) -> None:
    assert size_text(bytes_of(text)) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("500", 500), ("-1", -1), ("+3", 3), ("10k", 10_000), ("1.5M", 1_500_000), ("2 K", 2000)],
)
def test_a_count_is_read_as_people_write_it(text: str, count: int) -> None:
    assert count_of(text) == count


@pytest.mark.parametrize("text", ["", "k", "1.5", "1.0005k", "10x", "10kB", "1e3", "--1", "\u0665"])
def test_an_invalid_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f'"{text}" is not a whole number such as 500 or 10k'):
        count_of(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MB", (20_000_000, None)),
        ("64M/s", (64 * 2**20, None)),
        ("500", (500, None)),
        ("5000rows", (None, 5000)),
        ("5k rows/s", (None, 5000)),
        ("1 row", (None, 1)),
    ],
)
def test_a_rate_is_of_bytes_or_of_rows(text: str, rate: tuple[int | None, int | None]) -> None:
    assert rate_of(text) == rate


@pytest.mark.parametrize(
    "text", ["", "rows", "x", "-1MB", "1.5rows", "5000rows/m", "nan", "0", "0rows"]
)
def test_an_invalid_rate_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=f'^"{text}" is not '):
        rate_of(text)
