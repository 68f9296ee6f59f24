"""An engine of processes: any `concurrent.futures.Executor` is one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Give so many, which are all forked at once, while nothing of the test runs."""
    with ProcessPoolExecutor(count, mp_context=get_context("fork")) as executor:
        with warnings.catch_warnings():
            # since Python 3.12 of any other thread: xdist has one, which only reads
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
            executor.submit(os.getpid).result()
        yield executor
