"""A short soak: every kind of fault strikes copies of a table under load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.soak.plan import KINDS, faults

_ROOT = Path(__file__).parents[2]
_SEED = 35
_FAULTS = len(KINDS)


@pytest.mark.timeout(240)
def test_short_soak(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    options = ["--seed", str(_SEED), "--faults", str(_FAULTS), "--json", str(file)]
    soak = subprocess.run(
        [sys.executable, "-m", "bench.soak", *options],
        cwd=_ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert soak.returncode == 0, soak.stdout + soak.stderr
    result: dict[str, Any] = json.loads(file.read_text())
    assert result["clean"]
    assert sum(result["faults"].values()) == _FAULTS
    assert len(result["faults"]) == len(KINDS)
    assert not any(result["wrong"].values()), result["notes"]
    assert result["next_ids_checked"] > 0
    assert result["counts"]["kills"] > 0


def test_same_seed_same_plan() -> None:
    assert list(faults(7, 60)) == list(faults(7, 60))
    assert list(faults(7, 60)) != list(faults(8, 60))
