"""Copy after copy, with the faults of the plan, until all have struck."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from bench.soak import checks
from bench.soak.copies import CommandCopy, Copy, LibraryCopy
from bench.soak.measures import Measures
from bench.soak.plan import Setup, faults, setup
from bench.soak.scene import NoVictimError, Scene
from bench.soak.strikes import Fault
from pipecopy import Config, copy_table
from pipecopy.errors import PipecopyError
from pipecopy.postgres import PostgresPool

_LATER = 3
"""How many others are tried before a fault that found nobody to strike."""
_STUCK = 20.0
"""Seconds past its limit after which the soak gives a copy up, and ends."""


class StuckError(Exception):
    """A copy does not end: there is nothing more to measure."""


@dataclass
class _Held:
    """A fault that lasts."""

    until: float
    end: contextlib.ExitStack


class Runner:
    """Runs the soak in a scene."""

    def __init__(
        self, scene: Scene, seed: int, count: int, progress: Callable[[str], None]
    ) -> None:
        self.measures = Measures()
        self._scene = scene
        self._seed = seed
        self._count = count
        self._waiting = deque(faults(seed, count))
        self._progress = progress
        self._shown_at = 0.0
        self._held: list[_Held] = []
        self._began = time.monotonic()

    def run(self, seconds: float) -> None:
        """Copy until all faults have struck, for so many seconds at most; then compare."""
        number = 0
        while self._waiting and time.monotonic() - self._began < seconds:
            number += 1
            self._copy(setup(self._seed, number))
            if not self._scene.load.running:
                raise RuntimeError("the load has ended by itself")
        self._scene.load.stop()
        for name in self._scene.targets:
            self._last_copy(name)
            checks.compare(self._scene, name, self.measures)

    # -- one copy

    def _copy(self, planned: Setup) -> None:
        scene = self._scene
        mode = self._waiting[0].kind.mode or planned.mode
        before = checks.versions(scene.source)
        scene.begin(scene.targets[planned.target], len(before))
        if planned.emptied:
            checks.empty(scene.database("target"))
        kind = LibraryCopy if mode == "library" else CommandCopy
        copy: Copy = kind(scene, planned.config(len(before)))
        try:
            self._strike_until_it_ends(copy, planned.calm)
            ended = copy.ended()
            checks.check_time(ended, scene, self.measures)
            checks.check_processes(ended, scene, self.measures)
        finally:
            copy.stop()
            self._lift(all_of_them=True)
        checks.check_sessions(scene, self.measures)
        checks.check_files(self.measures)
        checks.check_mismatch(ended, scene, self.measures)
        scene.undo()
        checks.check_next_id(ended, before, scene, self.measures)
        self.measures.add(ended)

    def _strike_until_it_ends(self, copy: Copy, calm: int) -> None:
        deadline = copy.began + copy.config.full_copy_timeout + _STUCK
        mode = "library" if isinstance(copy, LibraryCopy) else "command"
        last = copy.began
        while copy.running:
            self._lift()
            self._show_progress()
            fault = next((f for f in self._waiting if f.kind.mode in {None, mode}), None)
            if fault is not None and time.monotonic() >= last + calm * fault.pause:
                self._strike(fault)
                last = time.monotonic()
            if time.monotonic() > deadline + self._scene.stopped_seconds:
                self.measures.report("hangs", "a copy did not end at all")
                raise StuckError
            time.sleep(0.005)

    def _strike(self, fault: Fault) -> None:
        """Let it strike; one that found nobody is retried later."""
        end = contextlib.ExitStack()
        try:
            end.enter_context(fault.kind.strike(self._scene, fault))
        except (NoVictimError, psycopg.OperationalError):  # … whose server is just not there
            end.close()
            self._waiting.remove(fault)
            self._waiting.insert(_LATER, fault)
            return
        self._held.append(_Held(time.monotonic() + fault.seconds, end))
        self._waiting.remove(fault)
        self.measures.faults[f"{fault.kind.place}: {fault.kind.name}"] += 1

    def _lift(self, *, all_of_them: bool = False) -> None:
        """End the faults that have lasted for long enough."""
        for held in list(self._held):
            if all_of_them or time.monotonic() >= held.until:
                self._held.remove(held)
                held.end.close()

    # -- the end

    def _last_copy(self, name: str) -> None:
        scene = self._scene
        config = Config(
            batch_size=1000,
            max_retries=0,
            retries_delay=0,
            call_timeout=60,
            full_copy_timeout=300,
            read_ahead=1,
        )
        pool = PostgresPool({"source": scene.source.uri, "target": scene.targets[name].uri})
        try:
            copy_table(config, pool, "source", "target")
        except PipecopyError as error:
            self.measures.report("unexpected ends", f"of a run without faults: {error}")

    def _show_progress(self) -> None:
        now = time.monotonic()
        if now < self._shown_at + 5:
            return
        self._shown_at = now
        wrong = ", ".join(f"{count} {what}" for what, count in (+self.measures.wrong).items())
        self._progress(
            f"{now - self._began:6.0f} s  {self.measures.faults.total():>5} of {self._count} faults"
            f"  {self.measures.copies.total():>4} copies  {self.measures.counts['kills']:>4} kills"
            f"  {wrong or 'nothing wrong'}"
        )
