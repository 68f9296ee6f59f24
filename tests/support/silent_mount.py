"""A mounted file system that never answers, as a network mount whose server is gone."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_MNT_DETACH = 2  # sys/mount.h


@contextmanager
def silent_mount(folder: Path) -> Iterator[None]:
    """Mount it on a folder, and take it away again. Skips the test if that can't be."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"/dev/fuse can't be opened: {error.strerror}")
    try:
        options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if libc.mount(b"silent", os.fsencode(folder), b"fuse", 0, options.encode()) != 0:
            pytest.skip(f"nothing can be mounted: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.umount2(os.fsencode(folder), _MNT_DETACH)
    finally:
        os.close(device)  # what waits for an answer is told that there will be none
