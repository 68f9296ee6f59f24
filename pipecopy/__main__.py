"""The command: `python -m pipecopy`, and the `pipecopy` script.

Every worker process imports this module again, so nothing heavy is imported until `main` runs.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take it for true; to load typing itself takes a while
    from typing import NoReturn

    from pipecopy.workers.launch import Launched

_INTERNAL_ERROR, _HOST_ERROR = 70, 71
"""As `pipecopy.cli.main` has them, which may be what can't be loaded."""
_WITH_WORKERS = ("copy", "check", "verify", "plan", "runs")
"""The commands that start workers."""


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    # a signal waits until there is someone to heed it: `pipecopy.cli.main` lets it through
    import _signal  # type: ignore[import-not-found] # noqa: PLC0415 - signal, with nothing to load

    before = _signal.pthread_sigmask(
        _signal.SIG_BLOCK, (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)
    )
    try:
        # first of all: it imports what the workers need while this process imports the rest
        server = _fork_server()
        from pipecopy.cli import main  # noqa: PLC0415 - for this process alone, not its workers

        main.main(before, server)
    except BaseException as error:  # noqa: BLE001 - nothing ends without a word
        _end(error)


def _fork_server() -> Launched | None:
    """Launch the fork server, if the command line looks as if one were needed."""
    argv = sys.argv[1:]
    if not {*argv[:1]} & {*_WITH_WORKERS} or {"--help", "-h"} & {*argv}:
        return None
    from pipecopy.workers import launch  # noqa: PLC0415 - for this process alone

    try:
        return launch.launch(("pipecopy.workers.worker", launch.DRIVER))
    except Exception:  # noqa: BLE001 - the run tries again, and says what the machine refuses
        return None


def _end(error: BaseException) -> NoReturn:
    """Say why not even the two streams could be made, or loaded, and end the process."""
    import os  # noqa: PLC0415 - as above

    try:
        from pipecopy.workers.host import hidden_refusal  # noqa: PLC0415 - as above

        refused = hidden_refusal(error)
    except Exception:  # noqa: BLE001 - it can't be loaded either
        refused = None
    code, line = _INTERNAL_ERROR, f"internal error: {type(error).__name__}: {error}"
    if refused is not None:
        code, line = _HOST_ERROR, f"error: {refused}"
    elif isinstance(error, OSError | MemoryError):
        code, line = _HOST_ERROR, f"error: this machine refused what the command needs: {error!r}"
    try:
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
