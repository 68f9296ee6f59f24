"""What the page of a run says of its timeline, as texts: when it did what, and what failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipecopy.units import counted, seconds_text

KINDS = {
    **dict.fromkeys(("load_rows", "load_these"), "load"),
    **dict.fromkeys(("save_rows", "exchange_rows"), "save"),
    **dict.fromkeys(("checksum", "row_checksums"), "compare"),
}
"""What a call does, by which it has a colour in the chart; all others are `other`."""
OUTCOMES = ("done", "lost", "failed", "stopped", "cut short")
"""Of the attempts of shards, by which they have a colour in the chart."""
_DAY = 86_400


def texts(timeline: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Return them by their names in the template."""
    return {
        "zone": clock.zone_said,
        "legend": list(_legend(timeline)),
        "has_kills": any(one["what"] == "killed" for one in timeline["incidents"]),
        "incidents_title": _incidents_title(timeline),
        "incidents": [_incident(one, clock) for one in timeline["incidents"]],
        "left_out": f"{timeline['incidents_left_out']:,} more in between are left out.",
        "pauses": [_pause(one, clock) for one in sorted(timeline["pauses"], key=_longest_first)],
        "pauses_left_out": f"{timeline['pauses_left_out']:,} shorter ones are left out.",
        "kinds": [_kind(one) for one in timeline["calls_by_kind"]],
        **_shards(timeline["shards"]),
    }


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The clock of the machine, as it was when the run began."""

    began: float
    offset: int
    """Seconds that local time is ahead of UTC."""
    many_days: bool

    @classmethod
    def of(cls, timeline: Mapping[str, Any]) -> Clock:
        """Return that of the timeline."""
        began = timeline["began"] or time.time()
        offset = timeline["utc_offset"]
        begin, end = began + offset, began + offset + timeline["seconds"]
        return cls(began=began, offset=offset, many_days=begin // _DAY != end // _DAY)

    @property
    def zone(self) -> str:
        """The zone, such as `UTC+02:00`."""
        hours, minutes = divmod(abs(self.offset) // 60, 60)
        return f"UTC{'-' if self.offset < 0 else '+'}{hours:02}:{minutes:02}"

    @property
    def zone_said(self) -> str:
        """A sentence about it."""
        return f"Times are those of the machine that ran the command, in {self.zone}."

    def at(self, seconds: float) -> str:
        """Return the time of day, with the date if the run had several."""
        whole, milliseconds = divmod(round((self.began + self.offset + seconds) * 1000), 1000)
        form = "%Y-%m-%d %H:%M:%S" if self.many_days else "%H:%M:%S"
        return f"{time.strftime(form, time.gmtime(whole))}.{milliseconds:03}"

    def local(self, iso: str) -> str:
        """Return the time, which a report has in UTC, with its date."""
        seconds = datetime.fromisoformat(iso).timestamp() + self.offset
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _shards(shards: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the table of shards, and what is said above and below it."""
    if shards is None:
        return {"shards": [], "shards_title": "", "shards_left_out": ""}
    states = [f"{number:,} {name}" for name, number in shards["states"].items()]
    again = [f"{shards['again']:,} run again"] if shards["again"] else []
    title = ", ".join([*states, *again])
    left_out = shards["left_out"]
    return {
        "shards": [_shard(one) for one in shards["listed"]],
        "shards_title": f"{counted(shards['count'], 'shard')}: {title}",
        "shards_left_out": f"{left_out:,} more are left out." if left_out else "",
    }


def _shard(one: Mapping[str, Any]) -> dict[str, str]:
    return {
        "shard": f"shard {one['shard']}",
        "table": one["table"] or "",
        "host": one["host"] or "",
        "ids": f"ids {one['first_id']} to {one['end_id'] - 1}",
        "rows": counted(one["rows"], "row"),
        "attempts": counted(one["attempts"], "attempt"),
        "took": seconds_text(one["seconds"]),
        "state": one["state"],
    }


def _legend(timeline: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name of what the lanes have, and its colour."""
    if (shards := timeline["shards"]) is not None:
        outcomes = {bar["outcome"] for bar in shards["bars"]}
        yield from ((f"shard {name}", name) for name in OUTCOMES if name in outcomes)
        yield from _legend_of_incidents(timeline, "attempt of a call that failed")
        return
    calls = [one["call"] for one in timeline["calls_by_kind"] if not one["failed"]]
    kinds = {KINDS.get(call, "other") for call in calls}
    for kind in ("load", "save", "compare"):
        if kind in kinds:
            yield kind, kind
    if "other" in kinds:
        yield "other calls", "other"
    yield from _legend_of_incidents(timeline, "attempt that failed")


def _legend_of_incidents(timeline: Mapping[str, Any], failed: str) -> Iterator[tuple[str, str]]:
    incidents = timeline["incidents"]
    if any(one["side"] for one in incidents):
        yield failed, "failed"
    if any(one["retry"] is not None for one in incidents):
        yield "waiting for the retry", "retry"
    if timeline["pauses"]:
        yield "pause", "pause"


def _incidents_title(timeline: Mapping[str, Any]) -> str:
    incidents, pauses = timeline["incidents"], timeline["pauses"]
    failed = sum(one["side"] is not None for one in incidents) + timeline["incidents_left_out"]
    retries = sum(one["retry"] is not None for one in incidents)
    parts = [f"{failed:,} {'attempt' if failed == 1 else 'attempts'} that failed"] if failed else []
    if any(one["side"] is None for one in incidents):
        parts.append("a request to stop")
    if retries and not timeline["incidents_left_out"]:
        parts.append(counted(retries, "retry"))
    if pauses:
        parts.append(counted(len(pauses) + timeline["pauses_left_out"], "pause"))
    said = ", ".join(parts)
    return said[:1].upper() + said[1:]


def _incident(one: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    retry = one["retry"]
    said = one["what"]
    if one["detail"]:  # that of a kill begins with the same word
        detail = one["detail"]
        said = detail if detail.startswith(said) else f"{said}: {detail}"
    return {
        "at": clock.at(one["end"]),
        "side": _place(one),
        "call": one["call"] + _ids_text(one),
        "what": said if one["attempt"] is None else f"attempt {one['attempt']} {said}",
        "then": "" if retry is None else f"retried after {seconds_text(retry)}",
        "stack": one["stack"],
    }


def _place(one: Mapping[str, Any]) -> str:
    """Return the side, and of a shard also which one it is."""
    if one["shard"] is None:
        return one["side"] or ""
    host = "" if one["host"] is None else f" on {one['host']}"
    return f"shard {one['shard']}{host}, {one['side']}"


def _ids_text(one: Mapping[str, Any]) -> str:
    if one["first_id"] is None:
        return ""
    if one["end_id"] is None:
        return f" from id {one['first_id']} on"
    return f" of ids {one['first_id']} to {one['end_id'] - 1}"


def _longest_first(pause: Mapping[str, Any]) -> float:
    """Return by what the longest pause is the first one."""
    return float(pause["begin"] - pause["end"])


def _pause(one: Mapping[str, Any], clock: Clock) -> dict[str, str]:
    return {
        "at": clock.at(one["begin"]),
        "took": seconds_text(one["end"] - one["begin"]),
        "reason": one["reason"],
        "detail": one["detail"],
    }


def _kind(one: Mapping[str, Any]) -> dict[str, str]:
    times = {name: seconds_text(one[name]) for name in ("least", "median", "most", "busy")}
    how = "did not return" if one["failed"] else "returned"
    return {
        "side": one["side"],
        "call": one["call"],
        "how": how,
        "count": f"{one['count']:,}",
        **times,
    }
