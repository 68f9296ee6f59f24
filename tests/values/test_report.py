"""The report as JSON, and a finding as a line."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pipecopy import CopyReport
from pipecopy.finding import problem, warning
from tests.values.test_errors import REPORT


def test_to_dict_has_every_field_as_json_takes_it() -> None:
    as_dict = REPORT.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert list(as_dict) == [field.name for field in dataclasses.fields(CopyReport)]
    assert as_dict["warnings"] == ["a warning"]


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REPORT.rows = 0  # type: ignore[misc] # it is meant to be wrong


def test_a_finding_is_one_line_with_its_side_and_what_to_do() -> None:
    found = problem("there is no key", "CREATE INDEX ON t (id);")
    assert str(found) == "there is no key; run CREATE INDEX ON t (id);"
    assert str(problem("there is no table a\nb")) == "there is no table a b"
    assert str(warning("each batch reads the whole table")) == "each batch reads the whole table"
