"""The name under which the server lists a session: which run it is of, and which process that is.

Every role sees it in `pg_stat_activity`, whosever the session is; when that began, and where its
client is, not every role may see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipecopy.contracts import Mode, Session
from pipecopy.shard import Part

_LONGEST = 63
"""Bytes: the server cuts the rest off, and names of orphans are compared as a whole."""
_HOST_END = 6
"""The last characters of a long host name, which tell the pods of a Kubernetes job apart."""
_MODES: Mapping[Mode, str] = {"copy": "c", "check": "k", "verify": "v"}
_NAME = re.compile(
    r"pipecopy/(?P<run_id>[0-9a-f]{12})/(?:source|target)(?:\.(?P<number>[0-9]*)\.[0-9a-f]+)?\b"
    r"(?:/(?P<host>[^/]+)/(?P<pid>[0-9]{1,10})/(?P<mode>[ckv])(?P<started>[0-9a-f]{8})\b)?"
)


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the name of a session of pipecopy tells."""

    run_id: str
    number: int | None = None
    """Of the shard that it copies, or the range that it verifies; None if it does neither."""
    host: str | None = None
    """None, as all that follow, for a pipecopy that did not tell it yet."""
    pid: int | None = None
    mode: Mode | None = None
    started: datetime | None = None


def run_names_begin(run_id: str) -> str:
    """Return how the names of all sessions of the run begin."""
    return f"pipecopy/{run_id}/"


def part_names_begin(run: Session, part: Part) -> str:
    """Return how the names of the sessions of all attempts of the same part begin, on this side."""
    number = "" if part.number is None else part.number
    return f"{run_names_begin(run.run_id)}{run.side}.{number}."


def application_name(run: Session) -> str:
    """Return the name: `pipecopy/<run id>/<side>/<host>/<pid>/<mode and start>`.

    All sessions of one side of a run have the same one, and no other session has it. Those of a
    part of a sharded run, or of a verification by several at once, have `<side>.<number>.<token>`.
    """
    name = f"{run_names_begin(run.run_id)}{run.side}"
    if run.part is not None:
        name = f"{part_names_begin(run, run.part)}{run.part.token}"
    if run.host is None or run.pid is None or run.started is None:
        return name
    started = int(datetime.fromisoformat(run.started).timestamp())
    end = f"/{run.pid}/{_MODES[run.mode]}{started:08x}"
    return f"{name}/{short_host(run.host, _LONGEST - len(name) - len('/') - len(end))}{end}"


def short_host(host: str, most: int) -> str:
    """Return a host's name in so many characters that any server takes as they are."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", host) or "unknown"
    if len(name) > most:
        name = name.partition(".")[0] or name
    return name if len(name) <= most else f"{name[: most - _HOST_END - 1]}~{name[-_HOST_END:]}"


def read_name(name: str | None) -> Named | None:
    """Return what the name tells; None if the session is none of pipecopy's."""
    found = _NAME.match(name or "")
    if found is None:
        return None
    number = int(found["number"]) if found["number"] else None
    if found["host"] is None:
        return Named(run_id=found["run_id"], number=number)
    return Named(
        run_id=found["run_id"],
        number=number,
        host=found["host"],
        pid=int(found["pid"]),
        mode=next(mode for mode, letter in _MODES.items() if letter == found["mode"]),
        started=datetime.fromtimestamp(int(found["started"], 16), UTC),
    )
