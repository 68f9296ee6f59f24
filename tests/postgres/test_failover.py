"""Whether a new session's server can be the one before, by what the two said of themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipecopy.contracts import ServerChangedError
from pipecopy.postgres.failover import (
    ServerState,
    bytes_behind,
    compare_greatest_keys,
    server_state,
    state_from_plain,
)

_PRIMARY = ServerState(system=7_000_000_000_000_000_001, timeline=2, is_standby=False, lsn=5_000)
_STANDBY = replace(_PRIMARY, is_standby=True)
_SILENT = ServerState(system=None, timeline=None, is_standby=False, lsn=None)
"""What a role without the rights is told."""


@pytest.mark.parametrize(
    ("before", "now", "behind"),
    [
        pytest.param(_PRIMARY, _PRIMARY, 0, id="nothing happened"),
        pytest.param(_PRIMARY, replace(_PRIMARY, lsn=9_000), 0, id="it went on"),
        pytest.param(_PRIMARY, replace(_STANDBY, lsn=4_900), 100, id="a standby that lags"),
        pytest.param(_PRIMARY, _STANDBY, 0, id="a standby that is there"),
        pytest.param(_STANDBY, replace(_STANDBY, lsn=4_999), 1, id="another standby"),
        pytest.param(_STANDBY, replace(_PRIMARY, lsn=5_001), 0, id="its primary"),
        pytest.param(_PRIMARY, replace(_STANDBY, timeline=1), 0, id="a standby tells late"),
        pytest.param(
            _PRIMARY, replace(_STANDBY, timeline=1, lsn=4_000), 1_000, id="and lags besides"
        ),
        pytest.param(_SILENT, _PRIMARY, 0, id="nothing was known"),
        pytest.param(_PRIMARY, _SILENT, 0, id="nothing is told"),
        pytest.param(_PRIMARY, replace(_STANDBY, lsn=None), 0, id="a standby with no position"),
        pytest.param(replace(_PRIMARY, lsn=None), replace(_PRIMARY, lsn=1), 0, id="no position"),
        pytest.param(
            replace(_PRIMARY, system=None), replace(_STANDBY, lsn=4_900), 100, id="no system"
        ),
        pytest.param(
            replace(_PRIMARY, timeline=None), replace(_STANDBY, lsn=4_900), 100, id="no timeline"
        ),
    ],
)
def test_a_server_that_is_the_same_or_will_be(
    before: ServerState, now: ServerState, behind: int
) -> None:
    assert bytes_behind(before, now) == behind


_OTHER = replace(_PRIMARY, system=7_000_000_000_000_000_002)
_TAKEN_OVER = "took over after a failover.*timeline {now}, .* was on timeline {before},"


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        pytest.param(
            _PRIMARY,
            _OTHER,
            "another server: its system identifier is 7000000000000000002,"
            " it was 7000000000000000001",
            id="another system",
        ),
        pytest.param(
            _PRIMARY,
            replace(_OTHER, is_standby=True, timeline=None, lsn=None),
            "another server",
            id="another system's standby, of which nothing else is known",
        ),
        pytest.param(
            _PRIMARY,
            replace(_PRIMARY, timeline=3, lsn=9_000),
            _TAKEN_OVER.format(now=3, before=2),
            id="promoted",
        ),
        pytest.param(
            _PRIMARY,
            replace(_STANDBY, timeline=3, lsn=9_000),
            _TAKEN_OVER.format(now=3, before=2),
            id="a standby of one that was promoted",
        ),
        pytest.param(
            _STANDBY,
            replace(_PRIMARY, timeline=3, lsn=None),
            _TAKEN_OVER.format(now=3, before=2),
            id="promoted, and tells no position",
        ),
        pytest.param(
            _PRIMARY,
            replace(_PRIMARY, timeline=1, lsn=9_000),
            _TAKEN_OVER.format(now=1, before=2),
            id="an old primary that came back",
        ),
        pytest.param(
            _PRIMARY,
            replace(_PRIMARY, lsn=4_990),
            "gone back in time.*ends 10 bytes before",
            id="a restored backup",
        ),
        pytest.param(
            _STANDBY,
            replace(_PRIMARY, system=None, timeline=None, lsn=4_990),
            "gone back in time",
            id="a primary that lacks what its standby had",
        ),
    ],
)
def test_a_server_that_never_will_be(before: ServerState, now: ServerState, says: str) -> None:
    with pytest.raises(ServerChangedError, match=says):
        bytes_behind(before, now)


@pytest.mark.parametrize(
    ("lsn", "number"),
    [
        ("0/0", 0),
        ("0/1000001", 0x1000001),
        ("A/3B4C5D6E", 0xA_3B4C5D6E),
        ("FFFFFFFF/FFFFFFFF", 0xFFFFFFFF_FFFFFFFF),
        # a primary at the end of a page, past the next one's header: its standby is at the end
        ("1/6002018", 0x1_06002000),
        ("1/6000028", 0x1_06000000),  # the first page of a segment has a longer header
        ("1/6002000", 0x1_06002000),
        ("1/6002017", 0x1_06002017),
        ("1/6002019", 0x1_06002019),
        ("1/6002020", 0x1_06002020),
        ("1/6000029", 0x1_06000029),
    ],
)
def test_a_position_is_a_number(lsn: str, number: int) -> None:
    assert server_state((1, 2, False, lsn)).lsn == number
    assert _PRIMARY.at(lsn) == replace(_PRIMARY, lsn=number)


def test_a_standby_at_the_end_of_a_page_does_not_lag() -> None:
    primary = server_state((1, 2, False, "0/3000028"))
    assert bytes_behind(primary, server_state((1, 2, True, "0/3000000"))) == 0
    assert bytes_behind(primary, server_state((1, 2, True, "0/2FFFFF8"))) == 8


def test_no_other_position_is_the_old_one() -> None:
    assert _PRIMARY.at(None) == _PRIMARY
    assert _PRIMARY.at(None, 7) == replace(_PRIMARY, greatest_key=7)


@pytest.mark.parametrize(("before", "now"), [(None, None), (None, 3), (7, 7), (7, 8), (0, None)])
def test_the_last_rows_are_still_there(before: int | None, now: int | None) -> None:
    compare_greatest_keys(_SILENT.at(None, before), _SILENT.at(None, now))


@pytest.mark.parametrize(("before", "now"), [(7, 6), (7, None)])
def test_the_last_rows_are_gone(before: int, now: int | None) -> None:
    with pytest.raises(ServerChangedError, match=f"greatest id is {now or 0} .*was {before} bef"):
        compare_greatest_keys(_SILENT.at(None, before), _SILENT.at(None, now))


@pytest.mark.parametrize(
    "row",
    [
        (7, 2, False, "1/18"),
        (None, None, True, None),
        (7, None, False, None),
        (None, 3, True, "0/1"),
    ],
)
def test_what_was_told_survives_as_plain_values(row: tuple[Any, ...]) -> None:
    state = server_state(row)
    assert (state.system, state.timeline, state.is_standby) == row[:3]
    assert (state.lsn is None) is (row[3] is None)
    for each in (state, state.at(None, 41)):
        assert state_from_plain(each.plain()) == each


@pytest.mark.parametrize("plain", [None, "", 7, []])
def test_anything_else_is_no_state(plain: Any) -> None:
    assert state_from_plain(plain) is None
