"""A buffer hands batches over, one after the other, whatever their sizes."""

from __future__ import annotations

import pickle
from contextlib import closing

import pytest

from pipecopy.workers.buffer import Buffer


@pytest.mark.parametrize("rows", [(1, 10), (10, 1), (1_000, 10, 2_000, 1)])
def test_the_writer_keeps_its_map_of_batches_that_grow_and_shrink(rows: tuple[int, ...]) -> None:
    with closing(Buffer()) as reader, closing(reader.duplicate()) as writer:
        for batch, count in enumerate(rows):
            raw = f"raw bytes of batch {batch}".encode() * count
            reader.write([(number, pickle.PickleBuffer(raw)) for number in range(count)])
            found = [(number, bytes(view)) for number, view in writer.read()]
            assert found == [(number, raw) for number in range(count)]
