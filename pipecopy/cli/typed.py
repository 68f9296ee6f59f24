"""What was typed on the command line: the commands that come next are told with the same words."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cyclopts import Argument, Token

_OF_PLAN = {"run", "shards", "shard", "from_id", "to_id", "resume", "create"}
"""What a run that is gone on with has from its plan."""
_OF_RUNS = {"ledger", "config", "session_pooler"}
"""The options of `runs` that find a ledger."""


@dataclass(frozen=True, kw_only=True)
class Typed:
    """The databases or the job, and the options, but none of a variable or the file."""

    sides: Sequence[str] = ()
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The words of each, by its name such as `batch_size`."""

    @classmethod
    def of(cls, sides: Sequence[Argument], options: Mapping[str, Argument]) -> Typed:
        """Return what the command line alone has given these."""
        return cls(
            sides=[token.value for side in sides for token in side.tokens],
            options={
                name: [word for token in option.tokens for word in _words(token)]
                for name, option in options.items()
                if option.has_tokens and option not in sides
            },
        )

    def go_on(self, run_id: str, *more: str) -> str:
        """Return the command that goes on with a run which was planned by this one."""
        return self._command("copy", self.options.keys() - _OF_PLAN, "--run", run_id, *more)

    def runs(self, *more: str) -> str:
        """Return the command that lists the runs in the same ledger, or drops one."""
        return self._command("runs", _OF_RUNS, *more)

    def _command(self, name: str, options: Collection[str], *more: str) -> str:
        given = [
            word for option in self.options if option in options for word in self.options[option]
        ]
        return shlex.join(["pipecopy", name, *self.sides, *given, *more])


def _words(token: Token) -> Iterator[str]:
    if token.keyword is not None:
        yield token.keyword
    if token.value:
        yield token.value
