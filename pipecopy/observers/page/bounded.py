"""What a long run did, in constant memory: gathered by slots of time, or the first, last, longest.

When there are too many slots, each becomes twice as long.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any, Generic, TypeVar

from pipecopy.contracts import Side

_MOST_SLOTS, _FIRST_SLOT = 480, 0.01
"""Of the throughput: how many, and seconds."""
_MOST_BLOCKS, _FIRST_BLOCK = 400, 0.001
"""Of the calls of one side: how many blocks, and seconds of a slot."""
_STEP = math.log(1.1)
"""Calls are counted by how long they took, in classes of which each is a tenth longer."""
_SHORTEST = 1e-6
"""Seconds."""

Kind = TypeVar("Kind")
Key = TypeVar("Key", bound=Hashable)


class Kept(Generic[Kind]):
    """The first ones and the last ones of what was added."""

    def __init__(self, first: int, last: int) -> None:
        """Keep so many of each."""
        self._most = first
        self._first: list[Kind] = []
        self._last: deque[Kind] = deque(maxlen=last)
        self.left_out = 0

    def add(self, one: Kind) -> None:
        """Add one at the end."""
        if len(self._first) < self._most:
            self._first.append(one)
            return
        self.left_out += len(self._last) == self._last.maxlen
        self._last.append(one)

    @property
    def all(self) -> list[Kind]:
        """Those that were kept, in their order."""
        return [*self._first, *self._last]


class Longest(Generic[Kind]):
    """The longest ones of what was added."""

    def __init__(self, most: int) -> None:
        """Keep so many."""
        self._most = most
        self._heap: list[tuple[float, int, Kind]] = []
        self._added = 0

    def add(self, one: Kind, seconds: float) -> None:
        """Add one that took so long; of equal ones the first stays."""
        self._added += 1
        heappush(self._heap, (seconds, -self._added, one))
        if len(self._heap) > self._most:
            heappop(self._heap)

    @property
    def left_out(self) -> int:
        """How many more there were."""
        return self._added - len(self._heap)

    @property
    def all(self) -> list[Kind]:
        """Those that were kept, in their order."""
        return [one for _, _, one in sorted(self._heap, key=lambda entry: -entry[1])]


class Throughput:
    """Rows and bytes by slots of time, each as long as the others; times begin with the run."""

    def __init__(self) -> None:
        self.seconds = _FIRST_SLOT
        self.rows: list[float] = []
        self.bytes: list[float] = []

    def add(self, begin: float, end: float, rows: int, size: int) -> None:
        """Spread what was done over the time that it took."""
        while end >= self.seconds * _MOST_SLOTS:
            self.seconds *= 2
            self.rows, self.bytes = _in_pairs(self.rows), _in_pairs(self.bytes)
        first, last = int(begin / self.seconds), int(end / self.seconds)
        missing = [0.0] * (last + 1 - len(self.rows))
        self.rows += missing
        self.bytes += missing
        for slot in range(first, last + 1):
            within = min(end, (slot + 1) * self.seconds) - max(begin, slot * self.seconds)
            share = within / (end - begin) if end > begin else 1.0
            self.rows[slot] += rows * share
            self.bytes[slot] += size * share


def _in_pairs(values: list[float]) -> list[float]:
    return [sum(values[index : index + 2]) for index in range(0, len(values), 2)]


@dataclass(kw_only=True)
class Block:
    """Attempts of calls of one kind: it gathers them, one after the other."""

    side: Side
    call: str
    failed: bool
    """They did not return."""
    begin: float
    end: float
    first_id: int | None = None
    end_id: int | None = None
    count: int = 0
    busy: float = 0.0
    """Seconds of all of them together."""
    least: float = math.inf
    """Seconds of the shortest, as `most` of the longest."""
    most: float = 0.0
    lengths: Counter[int] = field(default_factory=Counter, repr=False)

    def join(self, other: Block) -> None:
        """Take the attempts of another one, which is of the same kind."""
        self.extend(other.begin, other.end, (other.first_id, other.end_id))
        self.count += other.count
        self.busy += other.busy
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.lengths.update(other.lengths)

    def extend(self, begin: float, end: float, ids: tuple[int | None, int | None]) -> None:
        """Extend it to these times and ids."""
        self.begin, self.end = min(self.begin, begin), max(self.end, end)
        self.first_id = _of_known(min, self.first_id, ids[0])
        self.end_id = _of_known(max, self.end_id, ids[1])

    def count_one(self, seconds: float) -> None:
        """Count an attempt that took so long."""
        self.count += 1
        self.busy += seconds
        self.least, self.most = min(self.least, seconds), max(self.most, seconds)
        self.lengths[math.floor(math.log(max(seconds, _SHORTEST)) / _STEP)] += 1

    @property
    def median(self) -> float:
        """Seconds, within 5 % if it is of several."""
        seen = 0
        for length in sorted(self.lengths):
            seen += self.lengths[length]
            if 2 * seen >= self.count:
                return min(self.most, max(self.least, math.exp((length + 0.5) * _STEP)))
        return self.most

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that `json.dumps` takes, with the median."""
        values = {name: value for name, value in vars(self).items() if name != "lengths"}
        return {**values, "median": self.median}


def gathered(blocks: Iterable[Block], key: Callable[[Block], Key]) -> dict[Key, Block]:
    """Return new blocks by the key: those that have the same one, of one kind, are joined."""
    found: dict[Key, Block] = {}
    for each in blocks:
        if (of := key(each)) in found:
            found[of].join(each)
        else:
            found[of] = replace(each, lengths=each.lengths.copy())
    return found


def _of_known(choose: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)


class Lane:
    """The calls of one side: attempts of one kind that began in one slot are a block."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._slot = _FIRST_BLOCK
        self._blocks: dict[tuple[int, str, bool], Block] = {}

    def block(self, call: str, begin: float, *, failed: bool) -> Block:
        """Return the block of an attempt that began then."""
        new = Block(side=self._side, call=call, failed=failed, begin=begin, end=begin)
        if self._key(new) not in self._blocks:
            while len(self._blocks) >= _MOST_BLOCKS:
                self._slot *= 2
                self._blocks = gathered(self._blocks.values(), self._key)
        return self._blocks.setdefault(self._key(new), new)

    def _key(self, block: Block) -> tuple[int, str, bool]:
        return int(block.begin / self._slot), block.call, block.failed

    @property
    def blocks(self) -> list[Block]:
        """All of them."""
        return list(self._blocks.values())
