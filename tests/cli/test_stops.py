"""Copies stopped at random moments, by each signal, to the command and to its group."""

from __future__ import annotations

from pathlib import Path
from random import Random

from bench.stops import Stops, stop_at_random_moments
from tests.support.databases import TemporaryDatabase
from tests.support.leftovers import left_of_copies
from tests.support.profiles import create_profiles


def test_stops_at_random_moments(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    create_profiles(source_db, 1500)
    create_profiles(target_db)
    stops = Stops(source_db, target_db, tmp_path, left_of_copies)
    stop_at_random_moments(stops, Random(13), 1)
    assert stops.wrong == []
    assert sum(stops.ends.values()) == 6
