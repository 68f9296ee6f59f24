"""The command: `python -m pipecopy`, and the `pipecopy` script.

Every worker process imports this module again, so nothing heavy is imported until `main` runs.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take it for true; to load typing itself takes a while
    from typing import NoReturn

    from pipecopy.workers.launch import Launched


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    # a signal waits until there is someone to heed it: `pipecopy.cli.main` lets it through
    import _signal  # type: ignore[import-not-found] # noqa: PLC0415 - signal, with nothing to load

    before = _signal.pthread_sigmask(
        _signal.SIG_BLOCK, (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)
    )
    # first of all: it imports what the workers need while this process imports the rest
    server = _fork_server()
    from pipecopy.cli import main  # noqa: PLC0415 - for this process alone, not its workers

    main.main(before, server)


def _fork_server() -> Launched | None:
    """Launch the fork server, if the command line looks as if one were needed."""
    argv = sys.argv[1:]
    if argv[:1] not in (["copy"], ["check"], ["verify"]) or {"--help", "-h"} & {*argv}:
        return None
    from pipecopy.workers import launch  # noqa: PLC0415 - for this process alone

    try:
        return launch.launch(("pipecopy.workers.worker", launch.DRIVER))
    except OSError:
        return None  # the run tries again, and says what the host refuses


if __name__ == "__main__":
    main()
