"""check_copy: looks at both sides, read-only, and returns all that speaks against a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, OpenTransaction, TableDescription
from pipecopy.errors import CallTimeoutError, DatabaseError, PipecopyError
from pipecopy.events import Observer
from pipecopy.operations.copy import Extent
from pipecopy.operations.findings import (
    columns_of,
    failed_call,
    merged,
    open_now,
    plan_of,
    shown,
    side_of,
)
from pipecopy.operations.fit import between, own
from pipecopy.operations.settle import OPEN_TRANSACTIONS
from pipecopy.report import CheckReport, Finding, warning
from pipecopy.supervisor.endpoints import Endpoint
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
) -> CheckReport:
    """Say whether `copy_table` with these arguments can start, and what it would do.

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

    Returns:
        What was found, each with a mark and what to do about it; `can_start`; and the plan.

    Raises:
        ConfigError: as from `copy_table`.
        FullCopyTimeoutError: the whole check reached the limit `full_copy_timeout`; the report on
            the error has what was found until then.

    """
    extent = Extent.of(pool, from_id=from_id, to_id=to_id, resume=resume)
    return supervise(
        partial(_check, extent=extent),
        CheckReport.of(from_name, to_name),
        config,
        pool,
        (from_name, to_name),
        mode="check",
        observer=observer,
    )


def _check(run: Run[CheckReport], extent: Extent) -> None:
    """Connect to both, look at both tables, at how they fit, and at what a copy would do."""
    connected = _connect(run)
    if run.target in connected:
        extent.refuse_target_without_ranges(run.target)
    described = _ask(run, {end: () for end in connected if "describe" in end.offers}, "describe")
    for endpoint, table in described.items():
        _add(run, *map(shown, own(endpoint.side, table)))
    _look_at_fit(run, described)
    last_id = _last_id(run, extent, connected)
    transactions = _open_transactions(run) if last_id else []
    resume_id = _resume_id(run, extent, connected, last_id)
    first_id = extent.from_id if resume_id is None else resume_id
    resumed = resume_id is not None
    # the one row where a resumed copy begins is there, and says nothing of all the others
    begins = {run.source: first_id, run.target: first_id + int(resumed)}
    surveys = _survey(run, connected, described, begins, last_id)
    if transactions:  # those that end so soon do not matter
        transactions = _open_transactions(run, [each["id"] for each in transactions])
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
    arguments: Mapping[Endpoint, tuple[Any, ...]],
    call: str,
    on_return: Callable[[Endpoint], None] = lambda _: None,
) -> dict[Endpoint, Any]:
    """Make a call on these sides at the same time; return what those returned that did not fail.

    A failing one becomes a problem. Raises what ends the whole check.
    """
    calls = {}
    failed = set()

    def note(error: PipecopyError) -> None:
        _add(run, failed_call(error))
        failed.add(side_of(error))

    for endpoint, args in arguments.items():
        try:
            calls[endpoint] = run.begin(
                endpoint, call, *args, on_return=partial(on_return, endpoint)
            )
        except (CallTimeoutError, DatabaseError) as error:
            note(error)
    for begun in calls.values():
        while not begun.done:  # the error of the other one may come first
            try:
                run.wait(begun)
            except (CallTimeoutError, DatabaseError) as error:
                note(error)
    return {end: begun.value for end, begun in calls.items() if end.side not in failed}


def _connect(run: Run[CheckReport]) -> list[Endpoint]:
    """Return the sides that can be reached."""

    def reached(endpoint: Endpoint) -> None:
        message = "It can be reached."
        _add(run, Finding(side=endpoint.side, what="connect", mark="ok", message=message))

    connected = _ask(run, dict.fromkeys(run.endpoints.both, ()), "connect", reached)
    for endpoint, answer in connected.items():
        endpoint.offers = answer.offers
    return list(connected)


def _look_at_fit(run: Run[CheckReport], described: Mapping[Endpoint, Any]) -> None:
    source, target = (described.get(endpoint) for endpoint in run.endpoints.both)
    if source is None or target is None:
        return
    found = [*between(source, target, types="meet" not in run.target.offers)]
    if _has_columns(source) and _has_columns(target):
        for endpoint, other in ((run.target, source), (run.source, target)):
            found += _met(run, endpoint, other)
    _add(run, *map(shown, found))
    run.update(columns=columns_of(source, target, found))


def _met(run: Run[CheckReport], endpoint: Endpoint, other: Any) -> list[Finding]:
    """Tell one side of the other's table."""
    if "meet" not in endpoint.offers:
        return []
    before = run.report.items
    endpoint.know(other=other)
    met = _ask(run, {endpoint: (other,)}, "meet")
    if endpoint not in met and endpoint.side in _bad_sides(before):
        run.update(items=before)  # it failed of what is known to be wrong there
    findings: list[Finding] = met.get(endpoint, [])
    return findings


def _last_id(run: Run[CheckReport], extent: Extent, connected: list[Endpoint]) -> int | None:
    greatest = _ask_sound(run, connected, run.source, "get_max_id")
    return None if greatest is None else extent.last_id(greatest)


def _resume_id(
    run: Run[CheckReport], extent: Extent, connected: list[Endpoint], last_id: int | None
) -> int | None:
    """Return where the copy resumes, None if it begins with the first id."""
    # without a last id there is no plan; and a target that lacks its table has a problem
    question = None if last_id is None else extent.how_far(last_id)
    if question is None:
        return None
    reached = _ask_sound(run, connected, run.target, *question)
    return reached if reached is not None and reached > extent.from_id else None


def _ask_sound(
    run: Run[CheckReport], connected: list[Endpoint], endpoint: Endpoint, call: str, *args: int
) -> int | None:
    """Ask one side, unless something is known to be wrong with it."""
    if endpoint not in connected or endpoint.side in _bad_sides(run.report.items):
        return None
    answer: int | None = _ask(run, {endpoint: args}, call).get(endpoint)
    return answer


def _bad_sides(items: tuple[Finding, ...]) -> set[str | None]:
    return {item.side for item in items if item.mark == "problem"}


def _survey(
    run: Run[CheckReport],
    connected: list[Endpoint],
    described: Mapping[Endpoint, Any],
    begins: Mapping[Endpoint, int],
    last_id: int | None,
) -> dict[Endpoint, Mapping[str, Any]]:
    past_last = None if last_id is None else last_id + 1
    others = {run.source: run.target, run.target: run.source}
    arguments = {
        endpoint: (begins[endpoint], past_last, described.get(others[endpoint]))
        for endpoint in connected
        if "survey" in endpoint.offers
    }
    surveys: dict[Endpoint, Mapping[str, Any]] = {
        endpoint: survey
        for endpoint, survey in _ask(run, arguments, "survey").items()
        if isinstance(survey, dict)
    }
    for endpoint, survey in surveys.items():
        items, side = run.report.items, endpoint.side
        if survey.get("creates"):
            items = tuple(i for i in items if (i.side, i.what) != (side, "table"))
        found = [replace(shown(each), side=side) for each in survey.get("findings", ())]
        run.update(items=tuple(merged(items, found)))
    return surveys


def _open_transactions(run: Run[CheckReport], *among: list[str]) -> list[OpenTransaction]:
    """Return those whose rows a copy that began now could miss."""
    if OPEN_TRANSACTIONS not in run.source.offers:
        return []
    found = _ask(run, {run.source: among}, OPEN_TRANSACTIONS).get(run.source)
    if isinstance(found, str):
        unknown = warning(found, what="transactions")
        _add(run, replace(shown(unknown), side="source"))
    return found if isinstance(found, list) else []


def _has_columns(table: Any) -> bool:
    return isinstance(table, TableDescription) and bool(table.columns)
