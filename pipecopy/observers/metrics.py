"""MetricsFile: the figures of a run in a file for Prometheus, such as node_exporter reads.

::

    copy_table(…, observer=MetricsFile("/var/lib/node_exporter/nightly.prom"))

It needs the extra: pip install "pipecopy[metrics]".
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from pipecopy.config import MAX_SECONDS
from pipecopy.errors import ConfigError, HostError
from pipecopy.events import CommandEnded, Event, RunEnded, RunStarted
from pipecopy.observers.atomic import AtomicFile
from pipecopy.observers.figures import BUCKETS, FIGURES, RUN, Figure, Figures
from pipecopy.observers.shards import Whole
from pipecopy.workers.host import start

_EVERY = 5.0
"""Seconds between two writes."""
_SUCCESS = "pipecopy_last_success_timestamp_seconds"
_BOUNDS = ["+Inf" if math.isinf(most) else repr(most) for most in BUCKETS]


class MetricsFile:
    """An observer that writes the figures of a run to a file, every few seconds and at the end.

    The file is replaced as a whole. What it had as the time of the last success is kept until a run
    succeeds. The same object may observe several runs, one after the other.

    Raises ConfigError if the file can't be written; called with the last event of a run, HostError
    if it could not be written on the way.
    """

    def __init__(self, path: str | os.PathLike[str], *, every: float = _EVERY) -> None:
        """Take the file's path, and the seconds between two writes, more than 0."""
        if not 0 < every <= MAX_SECONDS:
            raise ConfigError(f"every must be more than 0 and at most {MAX_SECONDS}, not {every}")
        self._file = AtomicFile(path, "metrics file")
        self._file.prepare()
        self._name = Path(path).name
        self._every = every
        self._lock = threading.Lock()
        self._figures = Figures("", {})
        self._whole = Whole()
        self._successes = _successes(self._file.before)
        self._ended = threading.Event()
        self._failure: HostError | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Take note of the event."""
        of_run = self._whole.has(event)
        if of_run and isinstance(event, RunStarted):
            self._stop_writing()  # the last event of the former run may be lost
            self._failure = None
            self._figures = Figures(self._name, self._successes)
        with self._lock:
            self._figures.take(event)
        if of_run and isinstance(event, RunStarted):
            limit = event.config.full_copy_timeout + self._every
            self._start_writing(limit)
        elif of_run and isinstance(event, RunEnded | CommandEnded) and self._figures.run:
            self._stop_writing()
            self._write()
            if self._failure is not None:
                raise self._failure

    def _start_writing(self, limit: float) -> None:
        self._ended.clear()
        thread = threading.Thread(target=self._keep_writing, args=(limit,), daemon=True)
        start(thread)
        self._thread = thread

    def _stop_writing(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _keep_writing(self, limit: float) -> None:
        """Write until the run has ended, or must have: its last event may be lost."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            self._write()
            if self._ended.wait(self._every):
                return

    def _write(self) -> None:
        with self._lock:
            self._figures.now()
            content = generate_latest(_Families(self._figures))
        try:
            self._file.write(content)
        except HostError as error:
            self._failure = self._failure or error


class _Families(Collector):
    """The figures as prometheus_client asks for them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield the figures that are known, as prometheus_client asks for them."""
        for figure in FIGURES:
            metric = self._metric(figure)
            if metric.samples:
                yield metric

    def _metric(self, figure: Figure) -> Metric:
        run, labels = self._figures.run, (*RUN, *figure.labels)
        if figure.kind == "histogram":
            histogram = HistogramMetricFamily(figure.full_name, figure.help, labels=labels)
            for own, (seconds, *counts) in self._figures.seconds.items():
                buckets = list(zip(_BOUNDS, accumulate(counts), strict=True))
                histogram.add_metric((*run, *own), buckets, seconds)
            return histogram
        family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
        metric = family(figure.full_name, figure.help, labels=labels)
        for own, value in self._figures.values.get(figure.name, {}).items():
            metric.add_metric((*run, *own), value)
        return metric


def _successes(content: bytes) -> dict[tuple[str, ...], float]:
    """Return when runs last succeeded by their labels, as a file says that may be of any kind."""
    found = {}
    with suppress(Exception):  # another tool's, or damaged: the parser raises what it likes
        for family in text_string_to_metric_families(content.decode()):
            for sample in family.samples:
                if sample.name == _SUCCESS and math.isfinite(sample.value):
                    labels = tuple(sample.labels.get(name, "") for name in RUN)
                    found[labels] = sample.value
    return found
