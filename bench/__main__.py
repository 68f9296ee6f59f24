"""The command `python -m bench`.

Each worker process of a copy imports this module, as it would a user's script, so nothing heavy
is imported until `main` runs.
"""

from __future__ import annotations


def main() -> None:
    """Run the command."""
    from bench.main import run  # noqa: PLC0415 - for this process alone, not its workers

    run()


if __name__ == "__main__":
    main()
