"""What a batch costs on a slow line: round trips."""

from __future__ import annotations

import pytest

from tests.support.databases import TemporaryDatabase
from tests.support.opened import handed_over, opened
from tests.support.profiles import create_profiles
from tests.support.proxy import Proxy

pytestmark = pytest.mark.server


def test_a_load_takes_one_and_a_save_two(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase
) -> None:
    create_profiles(source_db, 400)
    create_profiles(target_db)
    loads: list[int] = []
    saves: list[int] = []
    with (
        Proxy(source_db.server) as near,
        Proxy(target_db.server) as far,
        opened(near.uri(source_db.name), "source") as reader,
        opened(far.uri(target_db.name), "target") as writer,
    ):
        reader.get_max_id()
        writer.get_max_id()
        for begin in 2 * [0, 100, 200, 300]:
            before = near.round_trips, far.round_trips
            writer.save_rows(handed_over(reader.load_rows(begin, begin + 100)))
            loads.append(near.round_trips - before[0])
            saves.append(far.round_trips - before[1])
    assert set(loads) == {1}
    assert saves[:4] == [2, 2, 2, 2]
    assert saves[4:] == [4, 2, 2, 2]  # the first one finds that the target is full
