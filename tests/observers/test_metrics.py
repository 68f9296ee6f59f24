"""The metrics file, as Prometheus' own parser reads it."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import (
    CallStarted,
    Event,
    Measured,
    Paused,
    RangeKnown,
    Resumed,
    RetryScheduled,
    RunEnded,
    RunStarted,
    ShardProgress,
)
from pipecopy.observers.atomic import AtomicFile
from pipecopy.observers.figures import FIGURES, RUN
from pipecopy.observers.metrics import MetricsFile
from pipecopy.report import CopyReport
from pipecopy.sharded import ShardedReport
from tests.observers import test_shards
from tests.observers.test_shards import LOAD, LOST, known, of, saved, shard
from tests.operations.sqlite import ComparingPool
from tests.support.drivers import RecordingPool
from tests.support.figures import Read
from tests.support.manual import PAGES
from tests.support.runs import CONFIG, check, copy, verify
from tests.support.small_disk import small_disk
from tests.support.strikes import Strike

STUCK = Strike(side="target", call="save_rows", fault="deadlock", skip=2, times=1)
SUCCESS = "pipecopy_last_success_timestamp_seconds"


def names(folder: Path, pattern: str = "*") -> list[str]:
    """Return the names of the files in the folder."""
    return sorted(path.name for path in folder.glob(pattern))


def wait_for(path: Path, name: str, value: float, timeout: float = 20) -> Read:
    deadline = time.monotonic() + timeout
    while not path.exists() or (read := Read(path))(name) != value:
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.01)  # the writer has no event for a test
    return read


@pytest.fixture
def pool(sqlite_pool: RecordingPool) -> RecordingPool:
    """Give a source with 50 rows, and an empty target."""
    sqlite_pool.create(range(1, 51))
    return sqlite_pool


def test_it_has_the_figures_of_a_run_with_a_kill_while_it_runs_and_at_its_end(
    pool: RecordingPool, tmp_path: Path
) -> None:
    path = tmp_path / "x.prom"
    metrics, seen = MetricsFile(path, every=0.02), list[Read]()

    def observe(event: Event) -> None:
        metrics(event)
        if isinstance(event, RetryScheduled):
            seen.append(wait_for(path, "pipecopy_retries_total", 1))

    report = copy(pool.faulty(STUCK), observer=observe, call_timeout=0.5, max_retries=1)
    (during,), at_end = seen, Read(path)
    assert during.outcome == "running"
    assert (during("pipecopy_rows_total"), during("pipecopy_next_id")) == (19, 20)
    assert during(SUCCESS) is None
    assert at_end.outcome == report.outcome == "complete"
    for name in ("rows", "bytes", "batches", "calls", "timeouts", "kills", "retries"):
        assert at_end(f"pipecopy_{name}_total") == getattr(report, name) > 0
    for name in ("first_id", "max_id", "next_id"):
        assert at_end(f"pipecopy_{name}") == getattr(report, name)
    assert at_end("pipecopy_kills_total", side="target", call="save_rows") == 1
    assert at_end("pipecopy_kills_total", side="source", call="load_rows") == 0
    of_saves = {"side": "target", "call": "save_rows"}
    assert at_end("pipecopy_call_seconds_count", **of_saves, outcome="returned") == 6
    killed = {**of_saves, "outcome": "timed out"}
    assert at_end("pipecopy_call_seconds_bucket", **killed, le="0.1") == 0
    assert at_end("pipecopy_call_seconds_bucket", **killed, le="1.0") == 1
    assert at_end("pipecopy_call_seconds_sum", **killed) == pytest.approx(0.5, abs=0.2)
    assert at_end("pipecopy_run_seconds") == report.seconds
    assert at_end("pipecopy_run_limit_seconds") == 30
    assert at_end("pipecopy_run_info", run_id=report.run_id) == 1
    assert at_end(SUCCESS) == pytest.approx(time.time(), abs=20)
    declared = {figure.full_name.removesuffix("_total"): figure.kind for figure in FIGURES}
    assert at_end.kinds.items() <= declared.items()
    assert all(sample.labels.keys() >= set(RUN) for sample in at_end.samples)
    assert names(tmp_path, "x.prom*") == ["x.prom"]


def test_the_last_success_survives_runs_that_fail(pool: RecordingPool, tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    metrics = MetricsFile(path)
    copy(pool, observer=metrics)
    success = Read(path)(SUCCESS)
    path.chmod(0o640)
    for _ in range(2):
        with pytest.raises(DatabaseError):
            copy(
                pool.faulty(Strike(side="source", call="get_max_id", fault="ValueError")),
                observer=MetricsFile(path),
            )
        failed = Read(path)
        assert (failed.outcome, failed(SUCCESS)) == ("failed", success)
        assert failed("pipecopy_call_seconds_count", call="get_max_id", outcome="raised") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    report = copy(pool, observer=metrics)  # one object for several runs
    assert Read(path)("pipecopy_rows_total") == report.rows == 50
    assert success is not None
    assert (Read(path)(SUCCESS) or 0) > success


@pytest.mark.parametrize(
    "before",
    [b"", b"\0" * 5000, b"\xff\xfe{", b"other_metric 1\n", f"{SUCCESS} NaN\n{SUCCESS} x".encode()],
)
def test_any_file_that_was_there_is_replaced(before: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    path.write_bytes(before)
    path.with_name("x.prom.tmp").write_bytes(b"left behind by one that was killed" * 1000)
    link = tmp_path / "link.prom"
    link.symlink_to(path)
    events = MetricsFile(link)
    for event in events_of_a_run():
        events(event)
    assert (Read(path).outcome, Read(path)(SUCCESS)) == ("failed", None)
    assert names(tmp_path) == ["link.prom", "x.prom"]
    assert "s3cret" not in path.read_text()
    assert link.is_symlink()


def events_of_a_run() -> list[Event]:
    """Return what an observer is told of one that fails at once."""
    run_id, source, target = "0123456789ab", "postgresql://me:s3cret@prod/app", "stats"
    report = CopyReport(run_id=run_id, source=source, target=target)
    started = RunStarted(run_id=run_id, source=source, target=target, config=CONFIG, mode="copy")
    return [started, RunEnded(report=report)]


def test_a_pause_is_there_while_it_lasts_and_after(pool: RecordingPool, tmp_path: Path) -> None:
    path, pause = tmp_path / "x.prom", tmp_path / "pause"
    metrics, seen = MetricsFile(path, every=0.02), list[Read]()

    def observe(event: Event) -> None:
        metrics(event)
        if isinstance(event, Paused):
            seen.append(wait_for(path, "pipecopy_paused", 1))
            pause.unlink()

    pause.touch()
    report = copy(pool, observer=observe, pause_file=str(pause))
    of_file = {"reason": "pause file"}
    ((during,), at_end) = seen, Read(path)
    assert 0 < (during("pipecopy_pause_seconds_total", **of_file) or 0) < report.paused
    assert at_end("pipecopy_pause_seconds_total", **of_file) == pytest.approx(
        report.paused, abs=0.01
    )
    assert (at_end("pipecopy_paused"), at_end("pipecopy_rows_total")) == (0, 50)


def test_what_a_side_tells_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    metrics = MetricsFile(path)
    started, ended = events_of_a_run()
    told: list[Event] = [
        Measured(side="target", what="lag", value=12.5),
        Measured(side="target", what="lag", value=0.5),
        Measured(side="source", what="active_sessions", value=3),
        Paused(reason="max lag", detail="a standby is 12.5 s behind", seconds=7),
    ]
    for event in (started, *told, ended):
        metrics(event)
    read = Read(path)
    assert read("pipecopy_lag_seconds", side="target") == 0.5
    assert read("pipecopy_active_sessions", side="source") == 3
    assert read("pipecopy_pause_seconds_total", reason="max lag") == pytest.approx(7, abs=1)
    assert read("pipecopy_paused") == 0


def test_the_figures_of_shards_are_those_of_all_together(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    metrics = MetricsFile(path)
    started, _ = events_of_a_run()
    two: dict[str, Any] = {"shard": 2, "host": "batch-8"}
    lag: dict[str, Any] = {"reason": "max lag", "detail": "a standby"}
    told: list[Event] = [
        known(4, shard(0, state="done", rows=200, next_id=100), rows=800),
        test_shards.started(1),
        replace(started, **of(1)),
        RangeKnown(**of(1), first_id=100, max_id=199),
        saved(1, 0, 40),
        CallStarted(**of(1), where=LOAD, limit=30),
        test_shards.started(2),
        CallStarted(**two, where=LOAD, limit=30),
        ShardProgress(**two, next_id=250, rows=100),
        Paused(**of(1), **lag, at=100),
        Paused(**two, **lag, at=100),
        Resumed(**two, reason="max lag", seconds=7, at=107),
        Resumed(**of(1), reason="max lag", seconds=7, at=107),
        Paused(**of(1), **lag),
        LOST,
        RunEnded(**two, report=CopyReport(run_id="", source="", target="")),
    ]
    for event in (started, *told):
        metrics(event)
    wrote = RunEnded(report=ShardedReport(run_id="0123456789ab", source="", target="", rows=380))
    metrics(wrote)
    read = Read(path)
    assert (read("pipecopy_rows_total"), read("pipecopy_bytes_total")) == (380, 0)
    states = {"waiting": 2, "running": 1, "done": 1, "failed": 0, "stopped": 0}
    assert {name: read("pipecopy_shards", state=name) for name in states} == states
    assert (read("pipecopy_shards_again_total"), read("pipecopy_jobs")) == (1, 4)
    assert read("pipecopy_estimated_rows") == 800
    assert read("pipecopy_calls_total", side="source", call="load_rows") == 2
    assert (read("pipecopy_next_id"), read("pipecopy_max_id")) == (None, None)
    assert read("pipecopy_pause_seconds_total", reason="max lag") == 7  # both at once
    assert read("pipecopy_paused") == 0
    assert read.outcome == "failed"
    assert not any("shard" in sample.labels for sample in read.samples)


def test_a_verification_and_a_check(sqlite_pool: RecordingPool, tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    pool = ComparingPool(sqlite_pool.folder)
    pool.create(range(1, 51))
    report = verify(pool, observer=MetricsFile(path))
    read = Read(path)
    assert read("pipecopy_rows_total", mode="verify") == report.rows == 50
    assert read("pipecopy_ranges_total") == report.ranges > 0
    assert read("pipecopy_differences_total", kind="missing") == report.missing == 50
    assert (read("pipecopy_differences_left"), read(SUCCESS)) == (50, None)
    checked = check(pool, observer=MetricsFile(path))
    read = Read(path)
    assert checked.can_start
    assert read("pipecopy_findings") == len(checked.items)
    assert read(SUCCESS, mode="check") is not None


def test_a_file_that_can_no_longer_be_written_is_a_warning(
    pool: RecordingPool, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    metrics = MetricsFile(folder / "x.prom")

    def observe(event: Event) -> None:
        if isinstance(event, RangeKnown):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        metrics(event)

    assert copy(pool, observer=observe).warnings == (
        f"metrics file {folder}/x.prom can't be written: No such file or directory",
    )


def test_two_that_write_the_same_file_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "x"
    contents = (b"a" * 100_000, b"b" * 10)
    path.write_bytes(contents[0])

    def write(content: bytes) -> None:
        file = AtomicFile(path, "file")
        for _ in range(30):
            file.write(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents * 2]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("every", [0, float("nan"), 1e9])
def test_a_wrong_time_between_two_writes(every: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"every must be more than 0"):
        MetricsFile(tmp_path / "x.prom", every=every)


def test_a_file_that_cant_be_written_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    nowhere, big = f"{tmp_path}/none/x.prom", tmp_path / "orders.csv"
    big.touch()
    os.truncate(big, 2**27)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, wrong in (
        ("/dev/null", "is not a regular file"),
        (tmp_path, "is not a regular file"),
        (big, "has 134217728 bytes, so it is another file: choose another name, or remove it"),
        (nowhere, "can't be written: No such file or directory"),
        (loop, "can't be written: Too many levels of symbolic links"),
    ):
        with pytest.raises(ConfigError) as raised:
            MetricsFile(path)
        assert str(raised.value) == f"metrics file {path} {wrong}"
    assert big.stat().st_size == 2**27


def test_a_full_disk_keeps_no_run_from_starting(pool: RecordingPool, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    full = "can't be written: No space left on device"
    with small_disk(folder, "64k"):
        former, new = folder / "former", folder / "new"
        former.write_bytes(b"x" * 10_000)
        with (folder / "rest").open("wb", buffering=0) as rest, suppress(OSError):
            while rest.write(bytes(4096)):
                pass
        for path in (former, new):
            assert copy(pool, observer=MetricsFile(path)).warnings == (
                f"metrics file {path} {full}",
            )
        assert (former.stat().st_size, names(folder)) == (10_000, ["former", "rest"])


def test_one_that_hangs_before_a_run_is_not_waited_for_and_undoes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"former")
    file = AtomicFile(path, "file")
    with (tmp_path / "x.tmp").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        file.prepare(patience=0.1)
        writer = threading.Thread(target=file.write, args=(b"new",))
        writer.start()
    writer.join()
    assert (path.read_bytes(), names(tmp_path)) == (b"new", ["x"])


# -- the manual


def described() -> Mapping[str, tuple[str, str]]:
    """Return the rows of the table in the manual."""
    rows = [line.split("|") for line in PAGES["metrics"].splitlines() if "| `pipecopy_" in line]
    return {name.strip(" `"): (labels.strip(), text.strip()) for _, name, labels, text, _ in rows}


def test_the_manual_has_each_metric() -> None:
    assert described() == {
        figure.full_name: (", ".join(figure.labels), figure.help.rstrip(".")) for figure in FIGURES
    }
