"""`pipecopy copy`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter

from pipecopy.cli.displays import display_for
from pipecopy.cli.endings import Ending, done, failed
from pipecopy.cli.options import TABLE, Flag, Limits, Output
from pipecopy.cli.outlet import Outlet
from pipecopy.cli.screen import Screen
from pipecopy.cli.stop import StoppedBySignal, StopSignals
from pipecopy.copying import copy_table
from pipecopy.events import CopyEnded, Event
from pipecopy.redact import redact
from pipecopy.report import CopyReport


@dataclass(frozen=True, kw_only=True)
class CopyCommand:
    """One copy, as it was asked for."""

    source: str = field(repr=False)  # it may hold a password
    target: str = field(repr=False)
    limits: Limits
    output: Output
    table: str
    key: str
    session_pooler: bool

    def run(self, err: Outlet, signals: StopSignals) -> Ending:
        """Copy, and tell of it on `err`."""
        try:
            report = self._copy(err, signals)
        except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending tells of each
            signals.settle()
            return failed(error, self.output)
        return done(report, self.output)

    def _copy(self, err: Outlet, signals: StopSignals) -> CopyReport:
        config = self.limits.config()
        from pipecopy.postgres import PostgresPool  # noqa: PLC0415 - loads psycopg: not for --help

        pool = PostgresPool(table=self.table, key=self.key, session_pooler=self.session_pooler)
        with Screen(display_for(err, quiet=self.output.quiet)) as screen:
            for name, value in (("SOURCE", self.source), ("TARGET", self.target)):
                if redact(value) != value:
                    screen.note(_password_seen(name))

            def observe(event: Event) -> None:
                if isinstance(event, CopyEnded):  # in another thread: no signal gets in between
                    signals.settle()
                screen(event)

            try:
                return copy_table(config, pool, self.source, self.target, observer=observe)
            finally:
                signals.settle()  # where it ended before it began, or too late for observers


def _password_seen(name: str) -> str:
    return (
        f"warning: the password in {name} can be seen by everyone who may list processes;"
        " ~/.pgpass, a service file or PGPASSWORD keeps it to you"
    )


def copy(  # noqa: D417 - Limits and Output describe their own options
    source: str,
    target: str,
    /,
    *,
    table: Annotated[str, Parameter(group=TABLE)] = "profiles",
    key: Annotated[str, Parameter(group=TABLE)] = "id",
    session_pooler: Annotated[Flag, Parameter(group=TABLE)] = False,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
    output: Output = Output(),  # noqa: B008 - a frozen value
) -> CopyCommand:
    """Copy a table from one PostgreSQL server to another, in batches of ids.

    A duration is written 250ms, 30s, 5m or 1h30m; a bare number is seconds.

    Parameters
    ----------
    source
        The database to read: a URI, a connection string, or the name of a service of libpq.
    target
        The database to write, likewise.
    table
        The table, on both sides; schema.name where it is not on the search path.
    key
        Its integer key, by which it is cut into batches.
    session_pooler
        A connection pooler on the way is in session mode; without this a pooler is refused.
    """
    return CopyCommand(
        source=source,
        target=target,
        limits=limits,
        output=output,
        table=table,
        key=key,
        session_pooler=session_pooler,
    )
