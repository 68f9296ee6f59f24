"""Sizes as people write them."""

from __future__ import annotations

import pytest

from pipecopy.sizes import bytes_of, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("0", 0),
        ("4096", 4096),
        ("64MiB", 64 * 1024**2),
        ("64 mib", 64 * 1024**2),
        ("500kB", 500_000),
        ("1.5GB", 1_500_000_000),
        ("2TiB", 2 * 1024**4),
    ],
)
def test_takes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 M", "1e3", "nan", "64MiBs", "64 M B"])
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        bytes_of(text)


@pytest.mark.parametrize("text", ["64MiB", "3GiB", "1KiB", "1000", "0"])
def test_shows_what_it_takes(text: str) -> None:
    assert size_text(bytes_of(text)) == text
