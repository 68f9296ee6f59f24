"""How a command ends: its exit code, and what is said at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipecopy.cli.codes import EXIT_CODES, exit_code
from pipecopy.cli.exits import completed, failed
from pipecopy.cli.going_on import Asked
from pipecopy.cli.main import StoppedBySignal
from pipecopy.cli.options import Output
from pipecopy.cli.typed import Typed
from pipecopy.errors import (
    CallTimeoutError,
    ConfigError,
    DatabaseError,
    FullCopyTimeoutError,
    HostError,
    PipecopyError,
    TableMismatchError,
    WorkerCrashedError,
)
from pipecopy.events import CommandEnded
from pipecopy.report import CopyReport, VerifyReport
from pipecopy.sharded import RunsReport
from tests.support.command import STAMP, run_stubbed

URI = "postgresql://me:s3cret@host/db"
REPORT = CopyReport(
    run_id="0123456789ab",
    source="prod",
    target="stats",
    table="profiles",
    outcome="failed",
    rows=400,
    inserted=300,
    updated=0,
    unchanged=100,
    batches=4,
    bytes=9_000_000,
    max_id=999,
    next_id=401,
    calls=11,
    timeouts=0,
    kills=0,
    retries=0,
    seconds=2.0,
    warnings=("there is no index",),
)
VERIFIED = VerifyReport(
    run_id="0123456789ab", source="prod", target="stats", rows=400, max_id=999, next_id=401
)
FAR = "every id below 401 (of 999) is in the target: 400 rows in 2 s"
FROM_401 = "with --from-id 401 it begins where this one ended"
CALLS = "11 calls, 0 timeouts, 0 kills, 0 retries"
WARNING = "warning: there is no index"
TOLD = (
    WARNING,
    f"300 inserted, 0 updated, 100 unchanged; 4 batches, 9.0 MB: 200 rows/s, 4.5 MB/s; {CALLS}",
)


def unstamped(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines without the time that those about a run begin with."""
    return tuple(STAMP.sub("", line) for line in lines)


def test_the_last_line_of_a_copy_that_is_complete_is_its_outcome() -> None:
    complete = replace(REPORT, outcome="complete")
    ending = completed(complete, Output(), "copy")
    assert all(STAMP.match(line) for line in ending.lines)
    done = "4 batches, 9.0 MB, in 2 s: 200 rows/s, 4.5 MB/s"
    assert unstamped(ending.lines) == (
        WARNING,
        f"complete: 400 rows: 300 inserted, 0 updated, 100 unchanged; {done}; {CALLS}",
    )


def test_a_warning_that_was_told_is_not_told_again() -> None:
    complete = replace(REPORT, outcome="complete", warnings=("there is no index", "another"))
    ending = completed(complete, Output(), "copy", told={"there is no index"}.__contains__)
    assert unstamped(ending.lines)[:-1] == ("warning: another",)


SAFE = "to go on: run it again: it is safe"
OF_RUN = "run 0123456789ab of profiles, "
PAGE = "exit code {}: see `pipecopy guide exit-codes`"
FIX = "to go on: fix what the error names, and run it again: it is safe"


def lines(
    error: BaseException, *, quiet: bool = True, command: str | None = "copy"
) -> tuple[str, ...]:
    return unstamped(failed(error, Output(quiet=quiet), command).lines)


def test_the_error_says_how_far_the_copy_came_and_the_last_line_how_to_go_on() -> None:
    error = DatabaseError("the disk\nis full", side="target", report=REPORT)
    page = f"{OF_RUN}{PAGE.format(4)}"
    told, go_on = (f"failed: the disk is full; {FAR}", f"{FIX}; {FROM_401}; {page}")
    assert lines(error, quiet=False) == (*TOLD, told, go_on)
    assert lines(error) == (WARNING, told, go_on)
    early = DatabaseError(
        "no way", side="target", report=replace(REPORT, max_id=None, batches=0, warnings=())
    )
    assert lines(early) == ("failed: no way", f"{FIX}; {page}")


@pytest.mark.parametrize(("remedy", "ends"), [("see x", "see x"), ("DROP x;", "run DROP x")])
def test_how_far_it_came_goes_on_after_what_to_do(remedy: str, ends: str) -> None:
    *_, told, _ = lines(CallTimeoutError("no", remedy=remedy, report=REPORT))
    assert told == f"failed: no; {ends}; {FAR}"


def test_quiet_says_nothing_of_a_copy_that_is_complete() -> None:
    complete = replace(REPORT, outcome="complete", warnings=())
    assert completed(complete, Output(quiet=True), "copy").lines == ()


def test_a_signal() -> None:
    go_on = f"{SAFE}; {PAGE.format(130)}"
    assert lines(StoppedBySignal(2)) == ("stopped by SIGINT; nothing was copied", go_on)
    stop = StoppedBySignal(15)
    stop.report = REPORT
    go_on = f"{SAFE}; {FROM_401}; {OF_RUN}{PAGE.format(143)}"
    assert lines(stop) == (WARNING, f"stopped by SIGTERM; {FAR}", go_on)


def test_observers_are_told_of_the_end_without_the_words_before_its_lines() -> None:
    stop = StoppedBySignal(15)
    stop.report = REPORT
    ends: list[CommandEnded] = []

    def tell(end: CommandEnded) -> tuple[str, ...]:
        ends.append(end)
        return ()

    for error in (ConfigError("no"), DatabaseError("no", side="target", report=REPORT), stop):
        *_, wrong, go_on = unstamped(failed(error, Output(), "copy", tell=tell).lines)
        assert wrong.removeprefix("error: ").removeprefix("failed: ") == ends[-1].error
        assert go_on == f"to go on: {ends[-1].go_on}"
    assert [end.error for end in ends] == ["no", f"no; {FAR}", f"stopped by SIGTERM; {FAR}"]
    assert [end.stopped_by for end in ends] == [None, None, "SIGTERM"]


def test_a_run_whose_plan_no_longer_holds_is_begun_anew() -> None:
    error = DatabaseError("no", sqlstate="08006", side="source", voids_plan=True, report=REPORT)
    assert exit_code(error) == 75
    error.report = replace(REPORT, run_id="1" * 12)
    error.begin_anew("1" * 12)
    assert exit_code(error) == 3  # no other try would end otherwise
    typed = Typed(sides=["nightly"], options={"shard": ["--shard", "3"]})
    ending = failed(error, Output(), "copy", Asked(typed=typed, shard=3))
    drop = f"drop the run, `pipecopy runs nightly --drop {'1' * 12}`, and begin a new one"
    assert ending.lines[-1].startswith(f"to go on: {drop}: it writes only what differs")


@pytest.mark.parametrize(
    ("error", "go_on"),
    [
        (
            DatabaseError("no", call="claim_shard", sqlstate="42704"),
            "begin a new run: it writes only what differs; `pipecopy runs nightly` lists the runs",
        ),
        (
            DatabaseError("no", in_use=True),
            "run it again when the other run has ended: it is safe",
        ),
    ],
)
def test_how_to_go_on_with_a_shard(error: PipecopyError, go_on: str) -> None:
    error.report = replace(REPORT, run_id="1" * 12)
    typed = Typed(sides=["nightly"], options={"shard": ["--shard", "3"]})
    ending = failed(error, Output(), "copy", Asked(typed=typed, shard=3))
    assert ending.lines[-1].startswith(f"to go on: {go_on}")


def test_how_to_go_on_after_runs_does_not_name_an_option_that_it_lacks() -> None:
    report = RunsReport(run_id="0123456789ab", source="prod", target="stats")
    error = DatabaseError("no", in_use=True, report=report)
    last = failed(error, Output(), "runs").lines[-1]
    assert "when the other run has ended: it is safe" in last


OF_TARGET: dict[str, Any] = {"side": "target", "call": "save_rows"}
GO_ON = [
    (ConfigError("no"), "to go on: fix that; `pipecopy copy --help` explains each option"),
    (FullCopyTimeoutError("no"), "run it again with a longer --full-copy-timeout: it is safe"),
    (CallTimeoutError("no", **OF_TARGET), SAFE),
    (
        DatabaseError("no", in_use=True, **OF_TARGET),
        "when the other run has ended (--wait waits for that): it is safe",
    ),
    (
        DatabaseError("no", sqlstate="57P01", **OF_TARGET),
        "when the server answers again",
    ),
    (DatabaseError("no", sqlstate="40P01", **OF_TARGET), "run it again in a moment: it is safe"),
    (WorkerCrashedError("no", **OF_TARGET), SAFE),
    (TableMismatchError("no"), FIX),
    (TableMismatchError("no", **OF_TARGET), "run it again when nobody alters the table: it is"),
    (HostError("no"), FIX),
    (PipecopyError("internal error: no"), SAFE),
    (ValueError("no"), "; if it ends like this again, report what --traceback shows"),
]


@pytest.mark.parametrize(("error", "said"), GO_ON, ids=[type(e).__name__ for e, _ in GO_ON])
def test_after_every_error_the_last_line_says_how_to_go_on(error: BaseException, said: str) -> None:
    wrong, go_on = lines(error)
    assert wrong in {"error: no", "internal error: no", "internal error: ValueError: no"}
    assert go_on.startswith("to go on: ")
    assert said in go_on
    named = f"; exit code {exit_code(error)}: see `pipecopy guide exit-codes`"
    assert go_on.endswith(named) != isinstance(error, ConfigError)
    assert lines(error, command=None)[-1].startswith("to go on: ")


def test_a_limit_that_pauses_used_up_says_so() -> None:
    last = [
        lines(FullCopyTimeoutError("no", report=replace(REPORT, seconds=10, paused=paused)))[-1]
        for paused in (4, 6)
    ]
    assert [" or when nothing pauses it: it is safe" in line for line in last] == [False, True]


@pytest.mark.parametrize(
    ("error", "caution"),
    [
        (DatabaseError("no", sqlstate="08006", **OF_TARGET), True),
        (CallTimeoutError("no", **OF_TARGET), True),
        (DatabaseError("no", sqlstate="08006", side="source"), False),
        (DatabaseError("no", in_use=True, **OF_TARGET), False),
        (DatabaseError("no", sqlstate="23505", **OF_TARGET), False),
    ],
    ids=str,
)
def test_what_a_target_that_failed_over_may_have_lost_is_not_skipped(
    *, error: PipecopyError, caution: bool
) -> None:
    error.report = REPORT
    assert (f"{FROM_401}, unless a standby has taken over there;" in lines(error)[-1]) == caution


@pytest.mark.parametrize(
    ("resume", "report", "said"),
    [
        (
            False,
            REPORT,
            f"; {FROM_401} (so does --resume, if only this copy has filled the target)",
        ),
        (None, REPORT, f"; {FROM_401}"),  # with --where
        (None, VERIFIED, f"; {FROM_401}"),
        (True, REPORT, ", and begins where this one ended"),
        (False, replace(REPORT, next_id=0), ""),  # nobody knows what of it is there
        (False, replace(REPORT, next_id=1000), ""),
    ],
)
def test_where_a_copy_may_begin_the_next_time(
    *, resume: bool | None, report: CopyReport | VerifyReport, said: str
) -> None:
    stop = StoppedBySignal(15)
    stop.report = report
    last = failed(stop, Output(), "copy", Asked(resume=resume)).lines[-1]
    assert last.partition("; run 0123456789ab")[0] == f"{SAFE}{said}"


@pytest.mark.parametrize(
    "stub",
    [
        f"def copy_table(*_, observer, **__): raise ValueError({URI!r})",
        f"""
def copy_table(*_, observer, **__): raise ValueError("never told")

def failed(*_, **__): raise OSError({URI!r})

operation.failed = failed
""",
    ],
    ids=["in the copy", "in its ending"],
)
def test_no_password_is_in_an_internal_error(stub: str) -> None:
    result = run_stubbed(stub, "--quiet")
    assert result.returncode == 70
    line, *_ = result.stderr.splitlines()
    assert line.startswith("internal error: ")
    assert "postgresql://me:***@host/db" in line


PASSING = ("40001", "40P01", "57P01", "57P02", "57P03", "53300", "08006", "08001")
CODES = [
    (ConfigError(""), 2),
    (DatabaseError("", side="source"), 3),
    (DatabaseError("", side="target"), 4),
    (WorkerCrashedError("", side="source"), 3),
    (WorkerCrashedError("", side="target"), 4),
    (TableMismatchError(""), 5),
    (ValueError(""), 70),
    (HostError(""), 71),
    (CallTimeoutError("", side="target"), 75),
    (DatabaseError("", side="target", sqlstate="55006", in_use=True), 75),
    (DatabaseError("", side="target", sqlstate="55006"), 4),  # the server's own word
    *((DatabaseError("", side="source", sqlstate=code), 75) for code in PASSING),
    *((DatabaseError("", side="source", sqlstate=code), 3) for code in ("08P01", "25006", "57014")),
    (FullCopyTimeoutError(""), 124),
    (StoppedBySignal(1), 129),
    (StoppedBySignal(2), 130),
    (StoppedBySignal(15), 143),
]


@pytest.mark.parametrize(
    ("error", "code"), CODES, ids=[f"{type(e).__name__}-{code}" for e, code in CODES]
)
def test_each_error_has_its_code_and_the_help_names_it(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
    assert f" {code}" in EXIT_CODES


def test_each_thing_that_does_not_fit_has_a_line() -> None:
    error = TableMismatchError(
        "they do not fit together: \n- one\n- two", differences=("one", "two")
    )
    first, *_ = failed(error, Output(), "copy").lines
    assert first == "error: they do not fit together:\n- one\n- two"
