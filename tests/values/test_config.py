"""Config refuses what makes no sense, all of it at once."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from pipecopy import Config
from pipecopy.errors import ConfigError

GOOD: dict[str, Any] = {
    "batch_size": 1,
    "max_retries": 0,
    "retries_delay": 0,
    "call_timeout": 0.001,
    "full_copy_timeout": 10**7,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 2**63),
        ("max_retries", 10**9),
        ("retries_delay", 0.0),
        ("retries_delay", 10**7),
        ("call_timeout", 1e-6),
        ("full_copy_timeout", 1),
        ("read_ahead", 0),
        ("read_ahead", 1),
        ("settle", 0.5),
        ("grace", 0),
        ("settle", 10**7),
        ("batch_time", None),
        ("batch_time", 0.0005),
        ("max_rate_bytes", 0.5),
        ("max_rate_rows", 5000),
        ("pause_file", "/run/pause"),
        ("max_lag", 0.5),
        ("max_load", 0),
    ],
)
def test_takes(field: str, value: Any) -> None:
    config = Config(**{**GOOD, field: value})
    assert getattr(config, field) == value
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, True) for field in (*GOOD, "read_ahead")),
        *((field, "1") for field in (*GOOD, "read_ahead")),
        *((field, None) for field in (*GOOD, "read_ahead")),
        *((field, -1) for field in (*GOOD, "read_ahead")),
        *((field, math.nan) for field in (*GOOD, "read_ahead")),
        *((field, math.inf) for field in (*GOOD, "read_ahead")),
        ("batch_size", 0),
        ("batch_size", 1.0),
        ("max_retries", 1.0),
        ("call_timeout", 0),
        ("full_copy_timeout", 0.0),
        ("retries_delay", 10**7 + 1),
        pytest.param("call_timeout", 10**400, id="huge"),
        pytest.param("call_timeout", 10**5000, id="more digits than Python writes"),
        pytest.param("read_ahead", 10**5000, id="read ahead, likewise"),
        ("full_copy_timeout", 1e300),
        ("read_ahead", 2),
        *(
            (field, value)
            for field in ("settle", "grace")
            for value in (True, "1", None, -1, math.nan, math.inf, 10**7 + 1)
        ),
        *(("batch_time", value) for value in (True, "1", 0, -1, math.nan, math.inf, 10**7 + 1)),
        ("batch_time", 0.0006),
        *(("max_rate_rows", value) for value in (True, "1", 0, -1, math.nan, math.inf, 10**16)),
        *(("max_lag", value) for value in (True, "1", 0, -1, math.nan, math.inf, 10**7 + 1)),
        *(("max_load", value) for value in (True, "1", -1, 1.0)),
        *(("pause_file", value) for value in (1, Path("/run/pause"))),
    ],
)
def test_refuses_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{**GOOD, field: value})
    assert str(caught.value).startswith(f"{field} must be ")
    assert len(str(caught.value)) < 150
    assert isinstance(caught.value, ValueError)


def test_names_every_bad_field_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(
            batch_size=0,
            max_retries=-1,
            retries_delay=math.nan,
            call_timeout=0,
            full_copy_timeout=math.inf,
            read_ahead=2,
        )
    named = [part.split()[0] for part in str(caught.value).split("; ")]
    assert named == [*GOOD, "read_ahead"]


def test_a_save_has_twice_the_time_that_it_should_take() -> None:
    limits = {**GOOD, "call_timeout": 30}
    assert Config(**limits, batch_time=15).batch_time == 15
    with pytest.raises(ConfigError, match=r"^batch_time must be at most half of call_timeout, 30,"):
        Config(**limits, batch_time=15.1)
    with pytest.raises(ConfigError, match=r"^call_timeout must be more than 0, not 0$"):
        Config(**{**GOOD, "call_timeout": 0}, batch_time=1)


def test_is_frozen_and_takes_no_positions() -> None:
    with pytest.raises(AttributeError):
        Config(**GOOD).batch_size = 2  # type: ignore[misc] # it is meant to be wrong
    with pytest.raises(TypeError):
        Config(1, 0, 0, 1, 1)  # type: ignore[call-arg] # likewise
