"""The command: `python -m pipecopy`, and the `pipecopy` script.

Every worker process imports this module again, so nothing heavy is imported until `main` runs.
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command and end the process with its exit code."""
    from pipecopy.cli import launch  # noqa: PLC0415 - for this process alone, not its workers

    launch.main()


if __name__ == "__main__":
    main()
