"""Parts: the ids of a verification in ranges, several at once, each with its own two processes.

What they find is one report: what one pair of processes would have found.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from pipecopy.config import Config
from pipecopy.contracts import Side
from pipecopy.errors import PipecopyError, StoppedError
from pipecopy.events import (
    Event,
    Observer,
    RunEnded,
    RunStarted,
    ShardEnded,
    ShardOutcome,
    ShardsKnown,
    ShardStarted,
    StopRequested,
    Warned,
)
from pipecopy.operations.parts import last_words, left_for_parts, new_part, on_each
from pipecopy.operations.split import Piece, split
from pipecopy.report import VerifyReport
from pipecopy.shard import Part, Shard
from pipecopy.supervisor.endpoints import IdleEndpoints
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.state import CutShortError
from pipecopy.supervisor.stop import RANGE

_FINER = 4
"""So many parts for each pair of processes even out rows that take longer than others."""
_MANY = 500_000
"""Rows of a part, at least, if they are so many: it takes 0.1 s to begin with the next one."""


class Supervised(Protocol):
    """`supervise` with the databases of the run, and what it may do there."""

    def __call__(
        self,
        operation: Callable[[Run[VerifyReport]], None],
        report: VerifyReport,
        config: Config,
        *,
        observer: Observer,
        abort: threading.Event,
        part: Part,
        known: dict[Side, dict[str, Any]],
        idle: IdleEndpoints,
    ) -> VerifyReport: ...


@dataclass
class _Range:
    """One of them."""

    number: int
    piece: Piece
    run: Run[VerifyReport] | None = None
    """None until it has begun."""
    ended: threading.Event | None = None
    """None before its thread has begun."""

    @property
    def next_id(self) -> int:
        """Every id of it below this one was compared."""
        return self.piece.first if self.run is None else self.run.report.next_id


class Parts:
    """The parts of one run, at most `jobs` of them at once."""

    def __init__(
        self, run: Run[VerifyReport], new: VerifyReport, supervised: Supervised, jobs: int
    ) -> None:
        self._run = run
        self._supervised = supervised
        self._jobs = jobs
        self._new = new
        """The report of a run that has just begun."""
        self._ranges: list[_Range] = []
        self._abort = threading.Event()
        self._idle = IdleEndpoints(most=jobs)
        self._told: set[str] = set(run.report.warnings)
        """Warnings; the lock is for them, since parts meet the same at once."""
        self._telling = threading.Lock()
        self._known = {
            endpoint.side: {
                "position": endpoint.session.position,
                "described": endpoint.session.described,
                "greatest_id": endpoint.session.greatest_id,
            }
            for endpoint in run.endpoints.both
        }
        """What the sessions of the next part have to know of the two sides."""

    def verify(
        self, first_id: int, last_id: int, compare: Callable[[Run[VerifyReport], Piece], None]
    ) -> None:
        """Have the ids up to `last_id`, itself included, compared in parts; `compare` does one.

        Raises the first error of a part, CutShortError, and what `Run.pause` raises.
        """
        run = self._run
        if first_id > last_id:
            return
        pieces = _joined(split(run, first_id, last_id, self._jobs * _FINER), self._jobs)
        self._ranges = [_Range(number, piece) for number, piece in enumerate(pieces)]
        self._notify_of(pieces)
        of_run_alone, run.whole = run.whole, self._so_far
        try:
            with run.unit(RANGE):
                on_each(
                    run, self._ranges, lambda each: self._verify(each, compare), jobs=self._jobs
                )
        finally:
            self._end()
            run.whole = of_run_alone
        if any(each.next_id <= each.piece.last for each in self._ranges):
            raise CutShortError

    def _notify_of(self, pieces: Sequence[Piece]) -> None:
        report = self._run.report
        rows = [piece.rows for piece in pieces]
        self._run.notify(
            ShardsKnown(
                shards=tuple(
                    Shard(
                        run=report.run_id,
                        table=report.table or "",
                        shard=number,
                        first=piece.first,
                        last=piece.last,
                        next_id=piece.first,
                    )
                    for number, piece in enumerate(pieces)
                ),
                jobs=self._jobs,
                estimated_rows=None if None in rows else sum(row or 0 for row in rows),
            )
        )

    def _end(self) -> None:
        """End what still runs, and take all that was found into the report of the run."""
        run = self._run
        self._abort.set()
        until = time.monotonic() + last_words(run)
        for each in self._ranges:
            if each.ended is not None:
                each.ended.wait(max(0.0, until - time.monotonic()))
        self._idle.dismiss()
        for endpoint in run.endpoints.both:
            endpoint.know(position=self._known[endpoint.side]["position"])
        run.report = self._report(run.report)
        begun = (each.run for each in self._ranges if each.run is not None)
        run.pauses.take((part.pauses for part in begun), among=self._jobs)

    # -- a part, in a thread of its own

    def _verify(self, part: _Range, compare: Callable[[Run[VerifyReport], Piece], None]) -> None:
        part.ended = threading.Event()
        try:
            if not self._abort.is_set() and not self._run.stopping:
                self._compare(part, compare)
        finally:
            part.ended.set()

    def _compare(self, part: _Range, compare: Callable[[Run[VerifyReport], Piece], None]) -> None:
        """Compare its ids in a run of its own. Raises the error of that, unless it was stopped."""
        whole, piece = self._run, part.piece
        about: dict[str, Any] = {
            "shard": part.number,
            "host": os.uname().nodename,
            "table": whole.report.table,
        }

        def operate(run: Run[VerifyReport]) -> None:
            part.run = run
            run.shorten(left_for_parts(whole))
            run.whole = self._so_far
            run.pace.share_rates(whole.pace)
            run.update(first_id=piece.first, next_id=piece.first, max_id=piece.last)
            compare(run, piece)
            self._know(run)

        def ended(outcome: ShardOutcome, detail: str = "") -> None:
            rows = 0 if part.run is None else part.run.report.rows
            of_part: dict[str, Any] = {"next_id": part.next_id, "rows": rows, "detail": detail}
            whole.notify(ShardEnded(outcome=outcome, **about, **of_part))

        first, last = piece.first, piece.last
        whole.notify(ShardStarted(first=first, last=last, next_id=first, attempt=1, **about))
        try:
            self._supervised(
                operate,
                replace(self._new, run_id=whole.report.run_id),
                replace(whole.config, wait=False),
                observer=partial(self._observe, about),
                abort=self._abort,
                part=new_part("range", part.number),
                known=self._known,
                idle=self._idle,
            )
        except StoppedError:
            ended("stopped")
        except PipecopyError as error:
            ended("failed", str(error))
            raise
        else:
            ended("done")

    def _observe(self, about: dict[str, Any], event: Event) -> None:
        """Pass on an event of a part; not what the whole run tells of, or has told of."""
        if isinstance(event, RunStarted | RunEnded | StopRequested):
            return
        if isinstance(event, Warned):
            with self._telling:
                if event.message in self._told:
                    return
                self._told.add(event.message)
        self._run.notify(replace(event, **about))

    def _know(self, run: Run[VerifyReport]) -> None:
        """Keep where the servers are as a part ends: what begins after it finds them there."""
        for endpoint in run.endpoints.both:
            position = endpoint.session.position
            known = self._known[endpoint.side]
            self._known[endpoint.side] = (
                known if position is None else {**known, "position": position}
            )

    # -- the report

    def _so_far(self) -> VerifyReport:
        """Return the report of the run now; in any thread."""
        run = self._run
        seconds = time.monotonic() - run.clock.stopped - run.began
        return replace(self._report(run.report), seconds=seconds)

    def _report(self, own: VerifyReport) -> VerifyReport:
        """Return the report of the run, `own`, with all that the parts have found until now."""
        for part in self._ranges:
            own = own if part.run is None else own.joined(part.run.report)
        next_ids = (each.next_id for each in self._ranges if each.next_id <= each.piece.last)
        past_last = self._ranges[-1].piece.last + 1
        return replace(own, next_id=next(next_ids, past_last))


def _joined(pieces: Sequence[Piece], jobs: int) -> list[Piece]:
    """Return as many parts as there are pairs of processes, unless they have many rows."""
    rows = [piece.rows for piece in pieces]
    if None not in rows and sum(row or 0 for row in rows) >= len(pieces) * _MANY:
        return list(pieces)
    return list(_neighbours(pieces, -(-len(pieces) // jobs)))


def _neighbours(pieces: Sequence[Piece], size: int) -> Iterator[Piece]:
    for begin in range(0, len(pieces), size):
        several = pieces[begin : begin + size]
        rows = [piece.rows for piece in several]
        yield Piece(
            first=several[0].first,
            last=several[-1].last,
            rows=None if None in rows else sum(row or 0 for row in rows),
        )
