"""`pipecopy plan`: the shards of a table, written into the ledger for others to copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pipecopy
from pipecopy.cli.exits import Ending
from pipecopy.cli.going_on import Asked
from pipecopy.cli.operation import carry_out
from pipecopy.cli.options import (
    NO_CONNECTIONS,
    AsTyped,
    BesideRows,
    Connections,
    Err,
    IdRange,
    Ledger,
    Limits,
    Messages,
    More,
    Selection,
    Shards,
    Signals,
    Source,
    Target,
)
from pipecopy.cli.shards import processors
from pipecopy.cli.tables import Tables
from pipecopy.cli.wanted import OfJobs, Wanted, is_several
from pipecopy.errors import ConfigError
from pipecopy.report import Report


def plan(
    source: Source,
    target: Target,
    /,
    *_more: More,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    ids: IdRange = IdRange(),  # noqa: B008 - a frozen value
    how: BesideRows = BesideRows(),  # noqa: B008 - a frozen value
    shards: Shards = Shards(),  # noqa: B008 - a frozen value
    ledger: Ledger = Ledger(),  # noqa: B008 - a frozen value
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Messages = Messages(),  # noqa: B008 - a frozen value
    connections: Connections = NO_CONNECTIONS,
    of_jobs: OfJobs,
    err: Err,
    signals: Signals,
    typed: AsTyped,
) -> Ending:
    """Plan the shards, and print them."""

    def planning() -> Callable[..., Report]:
        if is_several(wanted):
            tables = Tables(wanted, (source, target), connections, ledger.ledger)
            jobs = processors(shards.shards)
            plans = partial(pipecopy.plan_tables, shards=shards.shards, jobs=jobs)
            return partial(tables.run, limits.config(), plans)
        if shards.shards is None:
            raise ConfigError("plan needs --shards: how many ranges of ids there are, at most")
        pool = selection.pool(connections, how, ledger.ledger)
        begins = partial(pipecopy.plan_sharded, limits.config(), pool, source, target)
        return partial(begins, shards=shards.shards, **vars(ids))

    wanted = of_jobs or [Wanted(selection=selection, how=how, ids=ids, limits=limits)]
    screen = output.screen(err, brief=True)
    return carry_out(
        "plan", planning, screen, output, signals, asked=Asked(typed=typed), announced=False
    )
