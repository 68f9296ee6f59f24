"""What the bench knows of whoever copies."""

from __future__ import annotations

from typing import Literal

from bench.servers import Databases

Kind = Literal["limit", "pipecopy", "floor", "peer"]


class Contender:
    """Copies the table from one server to the other."""

    name: str
    """As `--only` takes it."""
    title: str
    kind: Kind
    once = False
    """It is slow: it takes part in the first round alone."""
    rows: int | None = None
    """How many rows it copies, the first ones by id; None for all."""
    exact = True
    """What it copies must be equal to the letter, or the bench ends."""

    def missing(self) -> str | None:
        """Return why it can't take part on this machine."""
        return None

    def prepare(self, databases: Databases) -> None:
        """Do what is not timed."""

    def copy(self, databases: Databases) -> float | None:
        """Copy; return the seconds that count where these are not all."""
        raise NotImplementedError
