"""The metrics file, as Prometheus' own parser reads it."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import pipecopy
from pipecopy.errors import ConfigError, DatabaseError
from pipecopy.events import (
    Event,
    Measured,
    Paused,
    RangeKnown,
    RetryScheduled,
    RunEnded,
    RunStarted,
)
from pipecopy.observers.atomic import AtomicFile
from pipecopy.observers.figures import FIGURES, RUN
from pipecopy.observers.metrics import MetricsFile
from pipecopy.report import CopyReport
from tests.operations.sqlite import ComparingPool
from tests.support.command import LONGEST, run, start
from tests.support.databases import TemporaryDatabase
from tests.support.drivers import RecordingPool
from tests.support.gates import load_gate
from tests.support.profiles import create_profiles
from tests.support.runs import CONFIG, check, copy, verify
from tests.support.strikes import Strike

STUCK = Strike(side="target", call="save_rows", fault="deadlock", skip=2, times=1)
GUIDE = Path(pipecopy.__file__).parent / "guide" / "metrics.md"
SUCCESS = "pipecopy_last_success_timestamp_seconds"


class Read:
    """What a file says."""

    def __init__(self, path: Path) -> None:
        families = list(text_string_to_metric_families(path.read_text()))
        self.kinds = {family.name: family.type for family in families}
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples with these labels, None if there is none."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    @property
    def outcome(self) -> str:
        """The one that the run has."""
        (found,) = (
            sample.labels["outcome"]
            for sample in self.samples
            if sample.name == "pipecopy_run_outcome" and sample.value
        )
        return found


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
    copy(pool, observer=MetricsFile(path))
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
    metrics = MetricsFile(path)
    for _ in range(2):  # one object for several runs
        report = copy(pool, observer=metrics)
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
        for _ in range(100):
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


# -- the command


def test_a_file_that_cant_be_written_is_an_error_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, big = f"{tmp_path}/none/x.prom", tmp_path / "orders.csv"
    big.touch()
    os.truncate(big, 2**23)
    for path, wrong in (
        ("/dev/null", "is not a regular file"),
        (tmp_path, "is not a regular file"),
        (big, "has 8388608 bytes, so it is another file: choose another name, or remove it"),
        (nowhere, "can't be written: No such file or directory"),
    ):
        with pytest.raises(ConfigError) as raised:
            MetricsFile(path)
        assert str(raised.value) == f"metrics file {path} {wrong}"
    assert big.stat().st_size == 2**23
    command = ("copy", "host=a", "host=b", "--metrics-file", nowhere)
    result = run(*command)
    assert (result.returncode, result.stderr.splitlines()[0]) == (2, f"error: {raised.value}")
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    result = run(*command)
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        2,
        'error: --metrics-file needs the extra metrics: pip install "pipecopy[metrics]"',
    )


ENDS = {124: ("1s", "timed out"), 143: ("30s", "stopped")}


@pytest.mark.parametrize("code", ENDS)
def test_a_command_that_is_ended_on_the_way(
    code: int, source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    limit, outcome = ENDS[code]
    path = tmp_path / "x.prom"
    create_profiles(source_db, 10)
    create_profiles(target_db)
    with source_db.connect() as other, other.transaction():
        other.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        arguments = ["copy", source_db.uri, target_db.uri, "--full-copy-timeout", limit]
        with start([*arguments, "--metrics-file", str(path)]) as process:
            wait_for(path, "pipecopy_run_info", 1)
            if outcome == "stopped":
                process.send_signal(signal.SIGTERM)
            assert process.wait(LONGEST) == code
    read = Read(path)
    assert (read.outcome, read("pipecopy_exit_code")) == (outcome, code)
    assert read("pipecopy_run_limit_seconds") == float(limit.removesuffix("s"))


def test_a_file_system_that_hangs_holds_up_nothing(
    source_db: TemporaryDatabase, target_db: TemporaryDatabase, tmp_path: Path
) -> None:
    path = tmp_path / "x.prom"
    create_profiles(source_db, 10)
    create_profiles(target_db)
    command = ["copy", source_db.uri, target_db.uri, "--metrics-file", str(path)]
    with load_gate(source_db, 5) as gate, start(command) as process:
        gate.arrival()
        wait_for(path, "pipecopy_run_info", 1)
        hang(path)
        gate.lift()
        _, said = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, said
    assert "--metrics-file did not end within 2 s: it was left behind" in said
    assert target_db.value("SELECT count(*) FROM profiles") == 10


def test_one_that_hangs_before_a_run_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    hang(path)
    AtomicFile(path, "file").prepare(patience=0.1)
    os.close(os.open(f"{path}.tmp", os.O_RDONLY))  # its thread goes on


def hang(path: Path) -> None:
    """Have whoever writes the file next wait, as for a file system that does not answer."""
    os.mkfifo(f"{path}.tmp")  # it takes a reader to open it


# -- the manual


def described() -> Mapping[str, tuple[str, str]]:
    """Return the rows of the table in the manual."""
    rows = [line.split("|") for line in GUIDE.read_text().splitlines() if "| `pipecopy_" in line]
    return {name.strip(" `"): (labels.strip(), text.strip()) for _, name, labels, text, _ in rows}


def test_the_manual_has_each_metric() -> None:
    assert described() == {
        figure.full_name: (", ".join(figure.labels), figure.help.rstrip(".")) for figure in FIGURES
    }
