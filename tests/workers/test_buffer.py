"""A buffer hands batches over, one after the other, whatever their sizes and their values."""

from __future__ import annotations

import copyreg
import enum
import pickle
import sqlite3
from collections import deque, namedtuple
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extras import RealDictRow

from pipecopy.workers.buffer import Buffer, plain_rows
from tests.support.drivers import RecordingPool
from tests.support.scripts import SQLITE, run_script


@pytest.mark.parametrize("rows", [(1, 10), (10, 1), (1_000, 10, 2_000, 1)])
def test_the_writer_keeps_its_map_of_batches_that_grow_and_shrink(rows: tuple[int, ...]) -> None:
    with closing(Buffer()) as reader, closing(reader.duplicate()) as writer:
        for batch, count in enumerate(rows):
            raw = f"raw bytes of batch {batch}".encode() * count
            reader.write([(number, pickle.PickleBuffer(raw)) for number in range(count)])
            found = [(number, bytes(view)) for number, view in writer.read()]
            assert found == [(number, raw) for number in range(count)]


def handed_over(rows: Any) -> Sequence[Any]:
    """Return the rows as the process that saves them gets them."""
    with closing(Buffer()) as buffer:
        buffer.write(plain_rows(rows))
        return list(buffer.read())


class Record:
    """A row as asyncpg's and pyodbc's: no Sequence, whose values have a position and a name.

    It iterates over the names, as the rows of some drivers do.
    """

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, at: int | str) -> Any:
        return list(self._values.values())[at] if isinstance(at, int) else self._values[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)


class ByName:
    """A row whose values have a name alone, and no base class that says so."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)


def sqlite_row() -> sqlite3.Row:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        found: sqlite3.Row = connection.execute("SELECT 1 AS id, 'x' AS data").fetchone()
        return found


PAIR = namedtuple("PAIR", "id data")  # noqa: PYI024 - as the drivers make them


@pytest.mark.parametrize(
    "row",
    [(1, "x"), [1, "x"], PAIR(1, "x"), deque([1, "x"]), Record(id=1, data="x"), sqlite_row()],
    ids=lambda row: type(row).__name__,
)
def test_rows_are_tuples_of_their_values_by_position(row: Any) -> None:
    (found,) = handed_over([row])
    assert (found, type(found)) == ((1, "x"), tuple)


@pytest.mark.parametrize(
    "row",
    [{"id": 1}, RealDictRow(id=1), ByName(id=1), {0, 1}, "ab", memoryview(b"ab"), 1, iter([1])],
    ids=lambda row: type(row).__name__,
)
def test_what_is_no_row_is_refused_by_the_name_of_its_class(row: Any) -> None:
    name = type(row).__name__
    with pytest.raises(TypeError, match=rf"load_rows returned a row of type .*{name}, not a tuple"):
        plain_rows([row])


def classes() -> tuple[Any, Any]:
    """Return a value that dill alone takes, and one that no pickler takes."""

    class Local(str):
        __slots__ = ()

    class Color(enum.Enum):
        RED = 1

    return Local("x"), Color.RED


TAKEN, NOT_TAKEN = classes()


@pytest.mark.parametrize(
    "value", [memoryview(b"x"), [memoryview(b"x")], (memoryview(b"x"), "y"), {"k": memoryview(b"")}]
)
@pytest.mark.parametrize("beside", [1, TAKEN], ids=["standard", "dill"])
def test_views_of_bytes_are_bytes_however_deep(value: Any, beside: Any) -> None:
    (found,) = handed_over([(1, value, beside)])
    assert (found[1], str(found[2])) == (value, str(beside))
    assert "memory" not in repr(found)


class Foreign:
    """As of a library in C that says by copyreg how its values are pickled."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Foreign)

    __hash__ = None  # type: ignore[assignment] # it has no identity


copyreg.pickle(Foreign, lambda _: (Foreign, ()))


@pytest.mark.parametrize("beside", [1, TAKEN], ids=["standard", "dill"])
def test_a_class_that_is_pickled_by_copyreg(beside: Any) -> None:
    (found,) = handed_over([(1, Foreign(), beside)])
    assert found[1] == Foreign()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(1, "x"), (2, NOT_TAKEN)], r"column 2 of the row with id 2 is .*Color, which"),
        ([(NOT_TAKEN, 1)], r"^column 1 is .*Color, which"),
        ([(7, TAKEN, [{"k": (NOT_TAKEN,)}])], r"column 3 of the row with id 7 contains .*Color, "),
        (deque([(7, (n for n in range(3)))]), "column 2 of the row with id 7 is generator, which"),
    ],
)
def test_a_value_that_cannot_be_handed_over_is_named(rows: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said) as caught:
        handed_over(rows)
    assert "RED" not in str(caught.value)


def test_values_of_a_scripts_own_classes_are_copied(
    sqlite_pool: RecordingPool, tmp_path: Path
) -> None:
    sqlite_pool.create(range(1, 26))
    script = """
    import enum

    class Level(str, enum.Enum):
        LOW = "low"

    class Own(Database):
        def load_rows(self, a, b):
            class Local(str):
                pass
            return [(i, Local(Level.LOW.value), Level.LOW, memoryview(b"x"))
                    for i, _ in super().load_rows(a, b)]
        def save_rows(self, rows):
            for i, local, level, data in rows:
                assert (type(local).__name__, level is Level.LOW, data) == ("Local", True, b"x")
            super().save_rows([row[:2] for row in rows])

    class OwnPool:
        def connect(self, path):
            return Own(path)

    if __name__ == "__main__":
        print(copy_table(config, OwnPool(), "source.sqlite", "target.sqlite").rows)
    """
    ended = run_script(tmp_path, SQLITE, script)
    assert (ended.stdout, ended.stderr) == ("25\n", "")
    assert sqlite_pool.rows("target") == [(i, "low") for i in range(1, 26)]
