"""`pipecopy runs`: the runs with shards that the ledger in a target has, and how far each is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from cyclopts import Parameter

import pipecopy
from pipecopy.cli.exits import Ending
from pipecopy.cli.going_on import Asked
from pipecopy.cli.kinds import Flag, RunId
from pipecopy.cli.operation import carry_out
from pipecopy.cli.options import (
    NO_CONNECTIONS,
    SHARDS,
    TABLE,
    AsTyped,
    CallLimits,
    Connections,
    Err,
    Ledger,
    Messages,
    More,
    Selection,
    Signals,
    Source,
    Target,
)
from pipecopy.report import Report


def runs(
    source: Source,
    target: Target,
    /,
    *_more: More,
    drop: Annotated[
        RunId,
        Parameter(group=SHARDS, help="Remove this run from the ledger; it can't be gone on with."),
    ] = None,
    ledger: Ledger = Ledger(),  # noqa: B008 - a frozen value
    session_pooler: Annotated[
        Flag,
        Parameter(group=TABLE, help="Allow a connection pooler on the way: it is in session mode."),
    ] = False,
    limits: CallLimits = CallLimits(),  # noqa: B008 - a frozen value
    output: Messages = Messages(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    err: Err,
    signals: Signals,
    typed: AsTyped,
) -> Ending:
    """List the runs, or drop one."""

    def asking() -> Callable[..., Report]:
        selection = Selection(session_pooler=session_pooler)
        asked = (limits.config(), selection.pool(connections, ledger=ledger.ledger), source, target)
        if drop is None:
            return partial(pipecopy.runs_of, *asked)
        return partial(pipecopy.drop_run, *asked, run=drop)

    screen = output.screen(err, events=True)
    return carry_out(
        "runs", asking, screen, output, signals, asked=Asked(typed=typed), announced=False
    )
