"""The calls of a `PostgresDatabase` for sharded runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from pipecopy.contracts import Session
from pipecopy.postgres.claim import claim, end
from pipecopy.postgres.connection import Connection
from pipecopy.postgres.ledger import Ledger
from pipecopy.postgres.orphans import end_run
from pipecopy.postgres.session import ServerSession
from pipecopy.shard import Shard

Result = TypeVar("Result")


class ShardCalls:
    """What contracts.py says of sharded runs."""

    _connection: Connection
    _ledger: Ledger
    _held: ServerSession | None = None
    """The session that holds the run."""

    def plan_shards(self, shards: Sequence[Shard]) -> None:
        """Write the shards of a run into the ledger, which is made if there is none."""
        self._in_ledger(lambda session: self._ledger.plan(session, shards))

    def shards(self, run_id: str | None) -> list[Shard]:
        """Return the shards of a run, or of all."""
        return self._in_ledger(lambda session: self._ledger.shards(session, run_id))

    def hold_run(self, run_id: str) -> str:
        """Take the run; each session that replaces this one takes it again."""

        def work(session: ServerSession) -> str:
            self._ledger.hold(session, run_id)
            self._held = session
            return run_id

        held = self._in_session(work)
        run = self._connection.run
        if run is not None and run.part is not None:
            self._connection.run = replace(run, part=replace(run.part, holds=run_id))
        return held

    def open_shards(self, run_id: str) -> None:
        """Set all shards that are not done to `waiting`."""
        self._in_ledger(lambda session: self._ledger.open(session, run_id))

    def stop_shards(self, run_id: str, finishing: bool) -> None:  # noqa: FBT001 - a call has no keywords
        """Let no attempt of the run save any more, or only once more."""
        stop = self._ledger.stop
        self._in_ledger(lambda session: stop(session, run_id, finishing=finishing))

    def drop_run(self, run_id: str, complete: bool) -> list[Shard]:  # noqa: FBT001 - a call has no keywords
        """Remove the run from the ledger; see contracts.py."""

        def work(session: ServerSession) -> list[Shard]:
            left = self._ledger.drop(session, run_id, complete=complete)
            moved = self._connection.moved
            if left is None and complete and moved is not None:
                raise moved  # that it is not there means nothing then
            return left or []

        return self._in_ledger(work)

    def end_run(self, run_id: str) -> None:
        """End all sessions of the run but this one."""
        self._in_ledger(lambda session: session.query(end_run(run_id)) and None)

    def claim_shard(self, number: int, stopped: bool) -> Shard:  # noqa: FBT001 - a call has no keywords
        """Take a shard; see contracts.py."""
        claimed = self._in_session(
            lambda session: claim(session, self._ledger, self._run, number, stopped=stopped)
        )
        part = self._run.part
        if part is not None and claimed.state == "running":
            claims = replace(part, attempt=claimed.attempt)
            self._connection.run = replace(self._run, part=claims)
        return claimed

    def end_shard(self, state: str, error: str | None) -> None:
        """Set the state of the shard that was claimed."""
        self._in_session(lambda session: end(session, self._ledger, self._run, state, error))

    @property
    def _run(self) -> Session:
        run = self._connection.run
        if run is None:
            raise RuntimeError("a shard is claimed in a session of a run alone")
        return run

    def _in_ledger(self, work: Callable[[ServerSession], Result]) -> Result:
        """Do the work in a session that holds the run, if the one before did."""

        def held(session: ServerSession) -> Result:
            run = self._connection.run
            part = None if run is None or run.side == "source" else run.part
            if part is not None and part.holds is not None and self._held is not session:
                self._ledger.hold_again(session, part.holds)
                self._held = session
            return work(session)

        return self._in_session(held)

    def _in_session(self, work: Callable[[ServerSession], Result]) -> Result:
        raise NotImplementedError
