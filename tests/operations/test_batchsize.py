"""The rule that adapts the batches, told what servers of a known speed would take."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest

from pipecopy.operations.batchsize import BatchSize, Saved

FIRST = 10_000


@dataclass(frozen=True, kw_only=True)
class Server:
    """Takes `latency` for each save, and loads and saves so many rows a second."""

    latency: float = 0.08
    rate: Callable[[int], float] = lambda _number: 130_000
    load_rate: float = 1_000_000
    density: float = 1
    """Rows for each id."""
    noise: float = 0
    most_rows: int = 2**62

    def save(self, number: int, asked: int, chance: random.Random) -> Saved:
        """Save the batch with this number, for which so many rows were asked."""
        rows = int(min(asked * self.density, self.most_rows))
        seconds = self.latency + rows / self.rate(number)
        return Saved(
            asked=asked,
            rows=rows,
            bytes=400 * rows,
            load=self.latency / 2 + rows / self.load_rate,
            save=seconds * chance.uniform(1 - self.noise, 1 + self.noise),
        )


def copy(
    server: Server, batches: int, *, read_ahead: int, batch_time: float = 2, most_bytes: int = 2**62
) -> tuple[list[Saved], BatchSize]:
    """Return what was saved, and what came of it."""
    size = BatchSize(rows=FIRST, first=FIRST, batch_time=batch_time, most_bytes=most_bytes)
    chance = random.Random(5)
    loaded: deque[int] = deque()
    saves = []
    for number in range(batches):
        loaded.append(size.rows)
        if len(loaded) > read_ahead:
            saves.append(server.save(number - read_ahead, loaded.popleft(), chance))
            size = size.after(saves[-1])
    return saves, size


both = pytest.mark.parametrize("read_ahead", [0, 1])


@both
@pytest.mark.parametrize("latency", [0, 0.08, 0.8])
@pytest.mark.parametrize("rate", [100, 2_000, 130_000, 10**7])
def test_it_comes_to_the_time_without_going_past_it(
    read_ahead: int, latency: float, rate: float
) -> None:
    server = Server(latency=latency, rate=lambda _: rate, load_rate=10**9)
    saves, size = copy(server, 80, read_ahead=read_ahead)
    right = max(FIRST / 100, rate * (2 - latency))
    assert size.rows == pytest.approx(right, rel=0.05)
    sizes = [each.asked for each in saves]
    if right > FIRST:
        assert sizes == sorted(sizes), "it shrank on the way"
        assert all(after <= 2 * before for before, after in pairwise(sizes))
        assert max(each.save for each in saves) <= 2.001
    else:
        assert sizes == sorted(sizes, reverse=True), "it grew on the way"


@both
def test_a_tenth_of_a_million_rows_is_enough_to_grow(read_ahead: int) -> None:
    saves, _size = copy(Server(), 7, read_ahead=read_ahead)
    assert sum(each.rows for each in saves[:4]) <= 150_000
    assert saves[-1].asked >= 150_000


@both
@pytest.mark.parametrize("times", [2, 4, 30])
def test_a_server_that_gets_slower_is_followed_at_once(read_ahead: int, times: int) -> None:
    def rate(number: int) -> float:
        return 130_000 / times if 20 <= number < 30 else 130_000

    saves, size = copy(Server(rate=rate), 60, read_ahead=read_ahead)
    late = [number for number, each in enumerate(saves) if each.save > 2.2]
    assert len(late) <= 2 + read_ahead, "it was told of it"
    right = 130_000 / times * 1.92
    assert min(each.asked for each in saves[20:30]) >= 0.9 * right, "it shrank too far"
    assert size.rows == pytest.approx(130_000 * 1.92, rel=0.05), "it did not come back"


@both
def test_one_slow_save_takes_half_of_it_for_a_while(read_ahead: int) -> None:
    saves, _size = copy(
        Server(rate=lambda number: 40_000 if number == 20 else 130_000), 40, read_ahead=read_ahead
    )
    sizes = [each.asked for each in saves]
    assert min(sizes[20:]) >= 0.45 * sizes[20]
    assert sizes[-1] > 0.9 * sizes[20]


@both
def test_noise_does_not_build_up(read_ahead: int) -> None:
    saves, _size = copy(Server(noise=0.3), 200, read_ahead=read_ahead)
    times = [each.save for each in saves[10:]]
    assert 1.2 < sum(times) / len(times) < 2
    assert max(times) < 2 * 1.6


@both
def test_what_no_rows_take_does_not_shrink_a_batch_to_one_row(read_ahead: int) -> None:
    """A save takes 0.16 s, however few rows it has."""
    saves, size = copy(Server(latency=0.16), 30, read_ahead=read_ahead, batch_time=0.1)
    assert (size.rows, size.too_slow) == (FIRST / 100, True)
    assert min(each.asked for each in saves) == FIRST / 100
    assert not copy(Server(), 30, read_ahead=read_ahead)[1].too_slow


@both
def test_batches_of_few_rows_change_nothing(read_ahead: int) -> None:
    _saves, size = copy(Server(), 20, read_ahead=read_ahead)
    few = size.after(Saved(asked=size.rows, rows=3, bytes=1200, load=0.04, save=0.08))
    assert few.rows == size.rows
    wide = size.after(Saved(asked=size.rows, rows=1, bytes=2**61, load=0.04, save=0.08))
    assert wide.rows == size.rows
    sparse, still = copy(Server(density=0.001), 20, read_ahead=read_ahead)
    assert still.rows == FIRST, "10 rows in 10,000 ids tell nothing of other ids"
    assert all(each.save < 0.1 for each in sparse)


@both
def test_sparse_ids_grow_so_far_that_dense_ones_take_no_longer(read_ahead: int) -> None:
    _saves, size = copy(Server(density=0.1), 40, read_ahead=read_ahead)
    assert 5 * FIRST < size.rows <= 130_000 * 1.92


@both
def test_no_batch_grows_past_its_bytes(read_ahead: int) -> None:
    most_bytes = 64 * 2**20
    cut = Server(most_rows=most_bytes // 400)
    saves, size = copy(cut, 40, read_ahead=read_ahead, most_bytes=most_bytes)
    assert all(400 * each.asked <= most_bytes for each in saves)
    assert size.rows == int(0.9 * most_bytes / 400)


def test_a_batch_that_has_grown_too_big_to_be_split_shrinks_as_far_as_it_had_grown() -> None:
    size = BatchSize(rows=8 * FIRST, first=FIRST, batch_time=2, most_bytes=FIRST * 400)
    wide = Saved(asked=8 * FIRST, rows=8 * FIRST, bytes=8 * FIRST * 100, load=0.1, save=0.1)
    assert size.after(wide).rows == int(0.9 * 4 * FIRST)
    assert size.after(Saved(**{**vars(wide), "bytes": 10**9})).rows == FIRST


@both
def test_a_batch_that_its_bytes_cut_does_not_grow(read_ahead: int) -> None:
    """Of rows of 50 KB, 1,300 fit, and take half a second."""
    server = Server(most_rows=1_300, rate=lambda _: 2_600)
    _saves, size = copy(server, 40, read_ahead=read_ahead, most_bytes=1_300 * 400)
    assert size.rows == FIRST


@both
def test_a_slow_source_takes_back_what_has_grown_alone(read_ahead: int) -> None:
    saves, size = copy(Server(load_rate=10_000), 40, read_ahead=read_ahead)
    assert size.rows == pytest.approx(2 * 10_000, rel=0.05)
    assert max(each.load for each in saves) < 2.1
    _saves, size = copy(Server(load_rate=1_000), 40, read_ahead=read_ahead)
    assert size.rows == FIRST


def test_an_attempt_that_timed_out_halves_the_next_batch_once() -> None:
    size = BatchSize(rows=FIRST, first=FIRST, batch_time=2, most_bytes=2**62)
    late = Saved(asked=FIRST, rows=FIRST, bytes=1, load=0.1, save=0.1, timed_out=True)
    assert size.after(late).rows == FIRST // 2
    assert size.after(late).after(late).rows == FIRST // 2, "both were asked for before"


def test_without_a_time_nothing_changes() -> None:
    size = BatchSize(rows=FIRST, first=FIRST, batch_time=None, most_bytes=1)
    slow = Saved(asked=FIRST, rows=FIRST, bytes=10**9, load=60, save=60, timed_out=True)
    assert size.after(slow) == size
