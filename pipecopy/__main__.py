"""The command: `python -m pipecopy`, and the `pipecopy` script.

Every worker process imports this module again, so nothing heavy is imported until `main` runs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take it for true; to load typing itself takes a while
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    # a signal waits until there is someone to heed it: `pipecopy.cli.main` lets it through
    import _signal  # type: ignore[import-not-found] # noqa: PLC0415 - signal, with nothing to load

    before = _signal.pthread_sigmask(
        _signal.SIG_BLOCK, (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)
    )
    from pipecopy.cli import main  # noqa: PLC0415 - for this process alone, not its workers

    main.main(before)


if __name__ == "__main__":
    main()
