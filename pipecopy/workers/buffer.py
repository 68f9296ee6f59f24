"""The memory that supervisor and workers share: a batch goes from reader to writer in a `Buffer`.

The files are anonymous, so nothing is left on disk or in /dev/shm, whatever dies. Pickle protocol 5
carries both kinds of batches with one mechanism: rows of any `Database` as tuples within the
pickle, and a batch that holds raw bytes out of band, written as they are and read back as views of
the mapped file. The file's layout::

    number of parts │ their sizes in bytes │ the pickle │ raw bytes │ raw bytes …
"""

from __future__ import annotations

import copyreg
import fcntl
import io
import itertools
import mmap
import os
import pickle
import struct
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from pipecopy.contracts import Row
from pipecopy.workers.launch import ask
from pipecopy.workers.messages import type_name
from pipecopy.workers.third_party import dill, reduction

_WORD = struct.Struct("<q")
_MOST_BYTES = 1 << 30  # of one write: Linux takes at most 2 GiB less a page
_DEEPEST = 20
"""Lists within lists that are looked into for what can't be pickled."""
_TEXTS = str | bytes | bytearray | memoryview
"""Sequences that are no rows."""


class MemoryFile:
    """An anonymous file in memory, which travels to a worker in Pebble's `initargs`."""

    def __init__(self, name: str, *, append: bool = False) -> None:
        """Create it; with `append`, every write goes to the end, also after `clear`."""
        self.fd = ask(os.memfd_create, f"pipecopy-{name}", os.MFD_CLOEXEC)
        if append:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)

    @classmethod
    def of(cls, fd: int) -> Self:
        """Return the file that a descriptor leads to."""
        file = cls.__new__(cls)
        file.fd = fd
        return file

    def duplicate(self) -> Self:
        """Return the same file by a descriptor of its own."""
        return self.of(ask(fcntl.fcntl, self.fd, fcntl.F_DUPFD_CLOEXEC, 3))

    def is_same(self, other: MemoryFile) -> bool:
        """Return whether both are the same file."""
        return os.path.sameopenfile(self.fd, other.fd)

    def __getstate__(self) -> dict[str, Any]:
        return {"inherited": reduction.DupFd(self.fd)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.fd = state["inherited"].detach()

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self.fd).st_size

    def tail(self, limit: int, start: int = 0) -> str:
        """Return the last `limit` bytes from byte `start` on as text."""
        size = self.size
        begin = max(start, size - limit)
        return os.pread(self.fd, size - begin, begin).decode(errors="replace")

    def clear(self) -> None:
        """Empty it: its memory goes back to the system."""
        os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Close this process's descriptor; the memory goes with the last one."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Buffer(MemoryFile):
    """The memory of one batch; the reader writes it, the writer maps it."""

    _mapped: mmap.mmap | None = None
    """The file as it was read last: to map each batch anew took 2 % of a save (measured)."""

    def __init__(self) -> None:
        super().__init__("batch")

    def write(self, rows: Sequence[Row]) -> int:
        """Write the rows and return their size in bytes.

        Raises:
            TypeError: a value of a row can't be pickled.
            HostError: this machine refused the memory.

        """
        raw: list[pickle.PickleBuffer] = []
        parts = [_pickled(rows, raw), *(buffer.raw() for buffer in raw)]
        sizes = struct.pack(f"<{len(parts) + 1}q", len(parts), *(part.nbytes for part in parts))
        total = len(sizes) + sum(part.nbytes for part in parts)
        ask(os.ftruncate, self.fd, total)
        offset = 0
        for part in (memoryview(sizes), *parts):
            offset = self._write_at(offset, part)
        return total

    def _write_at(self, offset: int, part: memoryview) -> int:
        done = 0
        while done < part.nbytes:
            done += ask(os.pwrite, self.fd, part[done : done + _MOST_BYTES], offset + done)
        return offset + done

    def read(self) -> Sequence[Row]:
        """Return the rows; their raw bytes are views of the file, and good until it is written."""
        if self._mapped is None or len(self._mapped) < self.size:
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            self._mapped = ask(mmap.mmap, self.fd, 0, flags=flags, prot=mmap.PROT_READ)
        view = memoryview(self._mapped)
        (count,) = _WORD.unpack_from(view)
        sizes = struct.unpack_from(f"<{count}q", view, _WORD.size)
        offset = _WORD.size * (count + 1)
        parts: list[memoryview] = []
        for size in sizes:
            parts.append(view[offset : offset + size])
            offset += size
        rows: Sequence[Row] = dill.loads(parts[0], buffers=parts[1:])
        return rows


def _pickled(rows: Sequence[Row], raw: list[pickle.PickleBuffer]) -> memoryview:
    found, error = _try_to_pickle(rows, raw)
    if found is None:
        raise TypeError(_unpicklable(rows)) from error
    return found


def _try_to_pickle(
    thing: object, raw: list[pickle.PickleBuffer]
) -> tuple[memoryview | None, Exception | None]:
    """Return the pickle, or what speaks against it.

    The standard pickler is in C; dill's is slow, but takes what a function of a script defines.
    """
    reason = None
    # psycopg2's and sqlite3's views of bytes are bytes, however deep in a value
    own: dict[Any, Any] = {memoryview: lambda view: (bytes, (view.tobytes(),))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dill.PicklingWarning)  # the error says it
        for kind in (pickle.Pickler, dill.Pickler):
            file = io.BytesIO()
            pickler = kind(file, protocol=5, buffer_callback=raw.append)
            pickler.dispatch_table = {**copyreg.dispatch_table, **own}
            try:
                pickler.dump(thing)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - a value may refuse it in its own way
                raw.clear()
                reason = error
            else:
                # not getbuffer(): the file is in a cycle with dill's pickler, and Python 3.13 can't
                # collect a file whose buffer is in use
                return memoryview(file.getvalue()), None
    return None, reason


def _is_picklable(thing: object) -> bool:
    return _try_to_pickle(thing, [])[0] is not None


def _unpicklable(rows: Sequence[Row]) -> str:
    """Say which value it is that can't be pickled, without the value itself."""
    for row in itertools.filterfalse(_is_picklable, rows):
        for number, value in enumerate(row, 1):
            if _is_picklable(value):
                continue
            inner = _innermost(value)
            of = f" of the row with id {int(row[0])}" if isinstance(row[0], int) else ""
            verb = "is" if inner is value else "contains"
            return (
                f"column {number}{of} {verb} {type_name(type(inner))}, which can't be pickled for"
                " the process that saves it: load_rows has to return another type"
            )
    return f"{type_name(type(rows))} can't be pickled for the process that saves the rows"


def _innermost(value: object) -> object:
    """Return what it is in this value that can't be pickled, or the value."""
    for _ in range(_DEEPEST):
        if not isinstance(value, list | tuple | set | frozenset | dict):
            break
        items = [*value, *value.values()] if isinstance(value, dict) else value
        inner = next(itertools.filterfalse(_is_picklable, items), None)
        if inner is None:
            break
        value = inner
    return value


def plain_rows(rows: Any, call: str = "load_rows") -> Sequence[Row]:
    """Return what the call returned as rows that can be handed over.

    Lists and tuples are made lists of tuples, since many drivers' row classes can't be pickled;
    any other sequence is taken to know how to pickle itself.

    Raises:
        TypeError: these are not rows.

    """
    if not isinstance(rows, Sequence) or isinstance(rows, _TEXTS):
        raise TypeError(f"{call} returned {type_name(type(rows))}, not a sequence of rows")
    if not isinstance(rows, list | tuple):
        return rows
    return [row if type(row) is tuple else _values(row, call) for row in rows]


def _values(row: Any, call: str) -> tuple[Any, ...]:
    """Return the values of a row by their position: iterating may give the names of columns."""
    if not isinstance(row, _TEXTS | Mapping):
        if isinstance(row, Sequence):
            return tuple(row)
        with suppress(TypeError, LookupError, AttributeError):
            return tuple(row[position] for position in range(len(row)))
    hint = ": return its values in the order of the columns" if isinstance(row, Mapping) else ""
    raise TypeError(f"{call} returned a row of type {type_name(type(row))}, not a tuple{hint}")
