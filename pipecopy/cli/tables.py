"""Several tables in one command: what is asked for, and the tables that come of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pipecopy
from pipecopy.cli.options import DEFAULT_LEDGER, DEFAULT_TABLE
from pipecopy.cli.wanted import Wanted
from pipecopy.config import Config
from pipecopy.operations.shards.plan import TableCopy
from pipecopy.report import Report


@dataclass(frozen=True)
class Tables:
    """All tables of one command."""

    wanted: Sequence[Wanted]
    names: tuple[str, str]
    """Of the source and the target."""
    connections: Mapping[str, str]
    ledger: str = DEFAULT_LEDGER

    def run(
        self, config: Config, begin: Callable[..., Report], *, stop: threading.Event, **how: Any
    ) -> Report:
        """Find the tables, and begin a run with them, and with what is left of the limit."""
        began = time.monotonic()
        tables = [table for each in self.wanted for table in self._find(each, config, stop)]
        left = config.full_copy_timeout - (time.monotonic() - began)
        limits = replace(config, full_copy_timeout=max(0.001, left))
        return begin(limits, tables, *self.names, stop=stop, **how)

    def _find(self, wanted: Wanted, config: Config, stop: threading.Event) -> Iterator[TableCopy]:
        of_each, selection = wanted.limits.config(), wanted.selection
        if not selection.is_several:
            pool = selection.pool(self.connections, wanted.how, self.ledger)
            yield TableCopy(pool=pool, config=of_each, **vars(wanted.ids))
            return
        found = pipecopy.find_tables(
            config,
            replace(selection, table=DEFAULT_TABLE, tables=None).pool(
                self.connections, ledger=self.ledger
            ),
            *self.names,
            tables=selection.names,
            patterns=selection.tables or (),
            exclude_table=selection.exclude_table or (),
            key=selection.given_key,
            stop=stop,
        )
        for each in found.tables:
            one = replace(selection, table=each.name, tables=None, key=each.key)
            yield TableCopy(
                pool=one.pool(self.connections, wanted.how, self.ledger),
                config=of_each,
                if_planned=each.pattern is not None,
            )
