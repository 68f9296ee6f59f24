"""The memory in which a batch goes from reader to writer.

Pickle protocol 5 carries both cases with one mechanism: rows of any `Database` as tuples within
the pickle, and a batch that holds raw bytes as out-of-band buffers, written as they are and read
back as views of the mapped file. The file's layout::

    count of buffers + 1 │ their sizes, the pickle's first │ the pickle │ buffer │ buffer …
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
from collections.abc import Sequence
from typing import Any

import dill

from pipecopy.contracts import Row
from pipecopy.workers.memory import MemoryFile

_WORD = struct.Struct("<q")
_MOST_BYTES = 1 << 30  # of one write: Linux takes at most 2 GiB less a page


class Slot(MemoryFile):
    """One batch's memory file; the reader writes it, the writer maps it."""

    def __init__(self) -> None:
        super().__init__("slot")

    def write(self, rows: Sequence[Row]) -> int:
        """Put the rows in and return their size in bytes.

        Raises:
            TypeError: a value of a row can't be pickled.

        """
        buffers: list[pickle.PickleBuffer] = []
        parts = [memoryview(_pickled(rows, buffers)), *(buffer.raw() for buffer in buffers)]
        sizes = struct.pack(f"<{len(parts) + 1}q", len(parts), *(part.nbytes for part in parts))
        total = len(sizes) + sum(part.nbytes for part in parts)
        os.ftruncate(self.fd, total)
        offset = 0
        for part in (memoryview(sizes), *parts):
            offset = self._write_at(offset, part)
        return total

    def _write_at(self, offset: int, part: memoryview) -> int:
        done = 0
        while done < part.nbytes:
            done += os.pwrite(self.fd, part[done : done + _MOST_BYTES], offset + done)
        return offset + done

    def read(self) -> Sequence[Row]:
        """Return the rows; their buffers are views of the file, which stays mapped with them."""
        view = memoryview(
            mmap.mmap(
                self.fd,
                0,
                flags=mmap.MAP_SHARED | mmap.MAP_POPULATE,
                prot=mmap.PROT_READ,
            )
        )
        (count,) = _WORD.unpack_from(view)
        sizes = struct.unpack_from(f"<{count}q", view, _WORD.size)
        offset = _WORD.size * (count + 1)
        parts: list[memoryview] = []
        for size in sizes:
            parts.append(view[offset : offset + size])
            offset += size
        rows: Sequence[Row] = dill.loads(parts[0], buffers=parts[1:])
        return rows


class _Pickler(pickle.Pickler):
    """The standard pickler, in C; it takes psycopg2's and sqlite3's views of bytes as bytes."""

    def __init__(self, file: io.BytesIO, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffers.append)
        self.dispatch_table = {memoryview: lambda view: (bytes, (view.tobytes(),))}


def _pickled(rows: Sequence[Row], buffers: list[pickle.PickleBuffer]) -> memoryview:
    file = io.BytesIO()
    try:
        _Pickler(file, buffers).dump(rows)
    except (pickle.PicklingError, AttributeError, TypeError):
        buffers.clear()
        return memoryview(_pickled_by_dill(rows))  # slow, in Python, but it takes local classes
    return file.getbuffer()


def _pickled_by_dill(rows: Sequence[Row]) -> bytes:
    try:
        pickled: bytes = dill.dumps(rows)
    except Exception as error:
        raise TypeError(f"a value of these rows can't be pickled: {error}") from error
    return pickled


def plain_rows(rows: Any) -> Sequence[Row]:
    """Return what `load_rows` returned as rows that can be handed over.

    Lists and tuples are made lists of tuples, since many drivers' row classes can't be pickled;
    any other sequence is taken to know how to pickle itself.

    Raises:
        TypeError: these are not rows.

    """
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes | bytearray | memoryview):
        raise TypeError(f"load_rows returned {type(rows).__name__}, not a sequence of rows")
    if not isinstance(rows, list | tuple):
        return rows
    for row in rows:
        if type(row) is not tuple and (
            not isinstance(row, Sequence) or isinstance(row, str | bytes | bytearray | memoryview)
        ):
            raise TypeError(f"load_rows returned a row that is a {type(row).__name__}, not a tuple")
    return [row if type(row) is tuple else tuple(row) for row in rows]
