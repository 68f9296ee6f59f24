"""check_copy: looks at both sides, read-only, and returns all that speaks against a copy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, OpenTransaction, TableDescription
from pipecopy.errors import DatabaseError, HostError, PipecopyError, TableMismatchError
from pipecopy.events import Observer
from pipecopy.finding import Finding, warning
from pipecopy.operations.copy import Extent
from pipecopy.operations.findings import (
    columns_of,
    failed_call,
    merged,
    not_looked_at,
    open_now,
    plan_of,
    shown,
    would_wait,
)
from pipecopy.operations.fit import between, own, too_narrow
from pipecopy.operations.parts import new_part
from pipecopy.operations.settle import OPEN_TRANSACTIONS
from pipecopy.operations.shards.plan import without_unique_index
from pipecopy.operations.shards.planned import refuse_without_ledger
from pipecopy.report import CheckReport
from pipecopy.supervisor.endpoints import Endpoint
from pipecopy.supervisor.pace import ASKED_OF
from pipecopy.supervisor.run import Run
from pipecopy.supervisor.supervise import supervise

_SIDES = ("source", "target", None)
"""The order of the items."""


def check_copy(
    config: Config,
    pool: ConnectionPool,
    from_name: str,
    to_name: str,
    *,
    observer: Observer | None = None,
    resume: bool = False,
    from_id: int = 0,
    to_id: int | None = None,
    shards: int | None = None,
    stop: threading.Event | None = None,
) -> CheckReport:
    """Say whether `copy_table` with these arguments can start, and what it would do.

    With `shards`, whether `copy_sharded` can.

    Both sides are looked at, also if the other can't be reached; nothing is written, and no
    lock is taken that keeps others from the table. A call that fails is a problem in the report.

    Args:
        config: the limits of the copy; the check keeps to them too.
        pool: as for `copy_table`. What its databases offer besides the contract is asked:
            `describe`, `meet`, `survey`.
        from_name: the source's name, for the pool.
        to_name: the target's name, for the pool.
        observer: is called with each event, in a thread of its own.
        resume: as for `copy_table`, as are `from_id` and `to_id`.
        from_id: the first id.
        to_id: the last one, itself included; None for the source's greatest.
        shards: as for `copy_sharded`; None for a copy without shards.
        stop: once another thread sets it, the check ends.

    Returns:
        What was found, each with a mark and what to do about it; `can_start`; and the plan.

    Raises:
        ConfigError: as from `copy_table`.
        FullCopyTimeoutError: the whole check reached the limit `full_copy_timeout`; the report on
            the error has what was found until then.
        HostError: this machine refused what a run needs.
        StoppedError: `stop` was set; the report on the error has what was found until then.

    """
    return check_one(
        config,
        pool,
        (from_name, to_name),
        resume=resume,
        from_id=from_id,
        to_id=to_id,
        shards=shards,
        observer=observer,
        stop=stop,
    )


def check_one(
    config: Config,
    pool: ConnectionPool,
    names: tuple[str, str],
    *,
    resume: bool = False,
    from_id: int,
    to_id: int | None,
    shards: int | None,
    observer: Observer | None,
    stop: threading.Event | None,
    abort: threading.Event | None = None,
) -> CheckReport:
    """Check one table; see `check_copy`. Once `abort` is set, the run ends at once."""
    extent = Extent.of(pool, from_id=from_id, to_id=to_id, resume=resume)
    return supervise(
        partial(_check, extent=extent, is_sharded=shards is not None),
        CheckReport.of(pool, *names),
        config,
        pool,
        names,
        mode="check",
        observer=observer,
        stop=stop,
        abort=abort,
        part=None if shards is None else new_part("table"),
    )


def _check(run: Run[CheckReport], extent: Extent, *, is_sharded: bool) -> None:
    """Connect to both, look at both tables, at how they fit, and at what a copy would do."""
    connected = _connect(run)
    if run.target in connected:
        extent.refuse_target_without_ranges(run.target)
        if is_sharded:
            refuse_without_ledger(run)
    run.pace.refuse_without_calls(connected)
    described = _ask(run, {end: ("describe",) for end in connected if "describe" in end.offers})
    for endpoint, table in described.items():
        _add(run, *map(shown, own(endpoint.side, table)))
    if is_sharded:
        _add(run, *map(shown, without_unique_index(described.get(run.target))))
    _look_at_fit(run, described)
    _look_at_pace(run, connected)
    last_id = _last_id(run, extent, connected)
    if last_id is not None:
        _add(run, *map(shown, too_narrow(described.get(run.target), last_id)))
    transactions, resume_id = _ask_before_first_load(run, extent, connected, last_id)
    first_id = extent.from_id if resume_id is None else resume_id
    resumed = resume_id is not None
    # the one row where a resumed copy begins is there, and says nothing of all the others
    begins = {run.source: first_id, run.target: first_id + int(resumed)}
    surveys = _survey(run, connected, described, begins, last_id)
    if transactions:  # those that end so soon do not matter
        again = (OPEN_TRANSACTIONS, [each["id"] for each in transactions])
        transactions = _open_ones(run, _ask(run, {run.source: again}))
    if transactions:
        _add(run, open_now(transactions, run.config.settle))
    run.update(items=tuple(sorted(run.report.items, key=lambda item: _SIDES.index(item.side))))
    if last_id is not None:
        plan = plan_of(
            run.config,
            first_id=first_id,
            max_id=last_id,
            resume_id=resume_id,
            resumed=resumed,
            source=surveys.get(run.source, {}),
            target=surveys.get(run.target, {}),
            by_rows=bool(run.source.offers & {"load_batch", "end_of_batch"}),
        )
        run.update(plan=plan)


def _add(run: Run[CheckReport], *items: Finding) -> None:
    run.update(items=(*run.report.items, *items))


def _ask(
    run: Run[CheckReport],
    calls: Mapping[Endpoint, tuple[Any, ...]],
    on_return: Callable[[Endpoint, Any], None] = lambda *_: None,
    *,
    known_bad: Collection[str | None] = (),
    failed_as: Callable[[PipecopyError], Finding] = failed_call,
) -> dict[Endpoint, Any]:
    """Make a call on each of these sides at the same time; return what they return.

    One that fails returns nothing; it is a problem, unless its side is known to have one, or what
    `failed_as` returns. Raises what ends the whole check, of the source first.
    """
    begun = {
        endpoint: run.begin(endpoint, *call, on_return=partial(on_return, endpoint))
        for endpoint, call in calls.items()
    }
    failed = set()
    ending: list[PipecopyError] = []
    for error in run.errors_of(begun.values()):
        failed.add(error.side)
        if _ends_check(error):
            ending.append(error)
        elif error.side not in known_bad:
            _add(run, failed_as(error))
    if ending:
        raise min(ending, key=lambda error: error.side or "")  # source before target
    return {end: call.value for end, call in begun.items() if end.side not in failed}


def _ends_check(error: PipecopyError) -> bool:
    """Tell whether to look further is of no use: a table changed, or this host is at fault."""
    lacks_module = isinstance(error, DatabaseError) and error.lacks_module
    return lacks_module or isinstance(error, TableMismatchError | HostError)


def _connect(run: Run[CheckReport]) -> list[Endpoint]:
    """Return the sides that can be reached."""

    def reached(endpoint: Endpoint, _connected: object) -> None:
        message = "it can be reached"
        _add(run, Finding(side=endpoint.side, what="connect", mark="ok", message=message))

    return list(_ask(run, dict.fromkeys(run.endpoints.both, ("connect",)), reached))


def _look_at_fit(run: Run[CheckReport], described: Mapping[Endpoint, Any]) -> None:
    source, target = (described.get(endpoint) for endpoint in run.endpoints.both)
    if source is None or target is None:
        return
    found = [*between(source, target, types="meet" not in run.target.offers)]
    if _has_columns(source) and _has_columns(target):
        found += _met(run, {run.target: source, run.source: target})
    _add(run, *map(shown, found))
    run.update(columns=columns_of(source, target, found))


def _look_at_pace(run: Run[CheckReport], connected: list[Endpoint]) -> None:
    """Say what a copy would wait for now; what can't be told is a problem."""
    if (found := run.pace.look_for_file()) is not None:
        _add(run, would_wait(None, "pause file", found))
    for call in run.pace.questions:
        calls = {end: (call,) for end in connected if end.side in ASKED_OF[call]}
        for endpoint, answer in _ask(run, calls).items():
            side = endpoint.side
            _add(run, would_wait(side, call.replace("_", " "), run.pace.above(call, side, answer)))


def _met(run: Run[CheckReport], others: Mapping[Endpoint, Any]) -> list[Finding]:
    """Tell each side of the other's table."""
    asked = {end: ("meet", other) for end, other in others.items() if "meet" in end.offers}
    for endpoint, (_, other) in asked.items():
        endpoint.know(other=other)
    met = _ask(run, asked, known_bad=_bad_sides(run))
    return [found for findings in met.values() for found in findings]


def _last_id(run: Run[CheckReport], extent: Extent, connected: list[Endpoint]) -> int | None:
    if not _is_sound(run, connected, run.source):
        return None
    greatest = _ask(run, {run.source: ("get_max_id",)}).get(run.source)
    return None if greatest is None else extent.last_id(greatest)


def _ask_before_first_load(
    run: Run[CheckReport], extent: Extent, connected: list[Endpoint], last_id: int | None
) -> tuple[list[OpenTransaction], int | None]:
    """Return the open transactions whose rows a copy could miss if it began now, and its first id.

    That is None if the copy does not resume.
    """
    calls: dict[Endpoint, tuple[Any, ...]] = {}
    if last_id and OPEN_TRANSACTIONS in run.source.offers:
        calls[run.source] = (OPEN_TRANSACTIONS,)
    # without a last id there is no plan; and a target that lacks its table has a problem
    question = None if last_id is None else extent.how_far(last_id)
    if question is not None and _is_sound(run, connected, run.target):
        calls[run.target] = question
    answers = _ask(run, calls)
    reached = answers.get(run.target, 0)
    return _open_ones(run, answers), reached if reached > extent.from_id else None


def _open_ones(run: Run[CheckReport], answers: Mapping[Endpoint, Any]) -> list[OpenTransaction]:
    found = answers.get(run.source)
    if isinstance(found, str):
        unknown = warning(found, what="transactions")
        _add(run, replace(shown(unknown), side="source"))
    return found if isinstance(found, list) else []


def _is_sound(run: Run[CheckReport], connected: list[Endpoint], endpoint: Endpoint) -> bool:
    """Tell whether nothing is known to be wrong with a side."""
    return endpoint in connected and endpoint.side not in _bad_sides(run)


def _bad_sides(run: Run[CheckReport]) -> set[str | None]:
    return {item.side for item in run.report.items if item.mark == "problem"}


def _survey(
    run: Run[CheckReport],
    connected: list[Endpoint],
    described: Mapping[Endpoint, Any],
    begins: Mapping[Endpoint, int],
    last_id: int | None,
) -> dict[Endpoint, Mapping[str, Any]]:
    past_last = None if last_id is None else last_id + 1
    others = {run.source: run.target, run.target: run.source}
    calls = {
        endpoint: ("survey", begins[endpoint], past_last, described.get(others[endpoint]))
        for endpoint in connected
        if "survey" in endpoint.offers
    }
    surveys: dict[Endpoint, Mapping[str, Any]] = {
        endpoint: survey
        for endpoint, survey in _ask(run, calls, failed_as=not_looked_at).items()
        if isinstance(survey, dict)
    }
    for endpoint, survey in surveys.items():
        items, side = run.report.items, endpoint.side
        if survey.get("creates"):
            items = tuple(i for i in items if (i.side, i.what) != (side, "table"))
        found = [
            replace(shown(_awaited(each) if run.config.wait else each), side=side)
            for each in survey.get("findings", ())
        ]
        run.update(items=tuple(merged(items, found)))
    return surveys


def _awaited(found: Finding) -> Finding:
    """Return what a survey found, as it is to a copy that waits for another run."""
    if found.cause != "busy":
        return found
    return warning(f"{found.message}; the copy would wait for its end", what=found.what)


def _has_columns(table: Any) -> bool:
    return isinstance(table, TableDescription) and bool(table.columns)
