"""One operation of the library, as a command runs it: on its screen, until its ending."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace

from pipecopy.cli.exits import Ending, completed, failed
from pipecopy.cli.going_on import Asked
from pipecopy.cli.main import StoppedBySignal, StopSignals, stop_behind
from pipecopy.cli.observers import Observers
from pipecopy.cli.options import Messages
from pipecopy.cli.wording import in_options
from pipecopy.errors import StoppedError
from pipecopy.events import Event, RunEnded, RunStarted, StopRequested
from pipecopy.observers.display import Screen
from pipecopy.observers.shards import Whole
from pipecopy.report import Report
from pipecopy.workers.host import refusal


def carry_out(
    command: str,
    operation: Callable[[], Callable[..., Report]],
    screen: Screen,
    output: Messages,
    signals: StopSignals,
    *,
    asked: Asked = Asked(),  # noqa: B008 - a frozen value
    announced: bool = True,
) -> Ending:
    """Run the command's operation on the screen, return its ending; from then on ignore signals.

    Without `announced` no line says that it begins.
    """

    def observe(event: Event) -> None:
        # in another thread: no signal gets in between
        if asked.shard is not None:
            event = replace(event, shard=asked.shard, host=host)
        elif whole.has(event) and isinstance(event, RunEnded):
            signals.ignore()  # after a single shard, the run may have to be finished
        if isinstance(event, StopRequested) and signals.first is not None:
            event = replace(event, by=signals.first.name)
        event = in_options(event)
        if announced or not isinstance(event, RunStarted):
            screen(event)
        observers(event)

    observers, whole, host = Observers({}), Whole(), os.uname().nodename
    stop = threading.Event()
    try:
        runs = operation()
        observers = Observers(output.observers())
        with screen:
            try:
                signals.ask_first(stop)
                report = runs(observer=observe, stop=stop)
            finally:
                signals.ignore()  # if it ended before it began, or too late for observers
    except (Exception, StoppedBySignal) as error:  # noqa: BLE001 - an ending names each
        signals.ignore()
        ended = stop_behind(error)
        if isinstance(error, StoppedError) and signals.first is not None:
            ended = StoppedBySignal(signals.first, error.report)
        said = in_options(refusal(error) or ended)
        tell, told = observers.close, screen.has_told
        return failed(said, output, command, asked, tell=tell, told=told)
    tell, told = observers.close, screen.has_told
    return completed(in_options(report), output, command, asked, tell=tell, told=told)
