"""Config, and the range of ids: what bounds a run."""

from __future__ import annotations

from dataclasses import dataclass

from pipecopy.arguments import wrong_text
from pipecopy.errors import ConfigError

MAX_SECONDS = 10**7
"""The longest time that can be asked for, in seconds: 115 days."""
MAX_RATE = 10**15
"""The highest rate that can be asked for: bytes or rows a second."""
DEFAULT_BATCH_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Config:
    """How a table is copied; every bad field is named in one `ConfigError`."""

    batch_size: int
    """Rows (ids) in one batch, at least 1; in the first one with `batch_time`."""
    max_retries: int
    """Retries of one call after its first attempt, at least 0."""
    retries_delay: float
    """Seconds between the end of one attempt and the start of the next, at least 0."""
    call_timeout: float
    """Seconds one database call may take, more than 0."""
    full_copy_timeout: float
    """Seconds the whole `copy_table` may take, more than 0."""
    read_ahead: int = 0
    """0: lockstep; 1: the next batch is loaded while this one is saved."""
    max_batch_bytes: int = DEFAULT_BATCH_BYTES
    """Bytes of one batch, at least 1: a batch of more is split if the `Database` can tell
    (PostgreSQL's can), else the report has a warning. A single row of more goes alone."""
    settle: float = 0
    """Seconds to wait before the first load, at least 0, for the end of the transactions that are
    open on the source when its greatest id is read, if the `Database` can tell (PostgreSQL's
    can): a row that one of them commits after its batch was loaded is missed. A warning names those
    that are still open then."""
    batch_time: float | None = None
    """Seconds that saving a batch should take, more than 0 and at most half of `call_timeout`: the
    number of rows is adapted, beginning with `batch_size`. None: it is not. A verification does not
    use it."""
    max_rate_bytes: float | None = None
    """Bytes a second, more than 0, that are loaded from the source, on average over some seconds: a
    batch is loaded at full speed, and the next one waits. None: as many as it can. A verification
    keeps to it only in what it repairs, since a comparison moves no rows."""
    max_rate_rows: float | None = None
    """The same in rows, which a verification keeps to as well."""
    pause_file: str | None = None
    """No load begins while there is a file of this name, or while nobody can tell."""
    max_lag: float | None = None
    """No load begins while a standby of the source or of the target, or the source itself if it is
    one, is more than so many seconds behind, more than 0; both `Database`s have to offer `lag`."""
    max_load: int | None = None
    """No load begins while more than so many sessions, at least 0, are active on the source besides
    those of the run; its `Database` has to offer `active_sessions`."""
    wait: bool = False
    """Wait, within `full_copy_timeout`, until another run that writes the target's table has ended;
    else that is an error at once. For a copy, and a verification that repairs."""
    grace: float = 10.0
    """Seconds, at least 0, that what is in flight gets once a run is asked to stop by its `stop`: a
    batch that is loaded and saved, a range that is compared and repaired."""

    def __post_init__(self) -> None:
        bad = [
            *_bad_int("batch_size", self.batch_size, least=1),
            *_bad_int("max_retries", self.max_retries, least=0),
            *_bad_seconds("retries_delay", self.retries_delay, zero=True),
            *_bad_seconds("call_timeout", self.call_timeout, zero=False),
            *_bad_seconds("full_copy_timeout", self.full_copy_timeout, zero=False),
            *_bad_int("read_ahead", self.read_ahead, least=0, most=1),
            *_bad_int("max_batch_bytes", self.max_batch_bytes, least=1),
            *_bad_seconds("settle", self.settle, zero=True),
            *_bad_seconds("grace", self.grace, zero=True),
            *_bad_batch_time(self.batch_time, self.call_timeout),
            *_bad_rate("max_rate_bytes", self.max_rate_bytes),
            *_bad_rate("max_rate_rows", self.max_rate_rows),
            *_bad_file("pause_file", self.pause_file),
            *([] if self.max_lag is None else _bad_seconds("max_lag", self.max_lag, zero=False)),
            *([] if self.max_load is None else _bad_int("max_load", self.max_load, least=0)),
            *_bad_bool("wait", self.wait),
        ]
        if bad:
            raise ConfigError("; ".join(bad))


def bad_ids(from_id: object, to_id: object) -> list[str]:
    """Say what is wrong with the two ends of a range of ids."""
    bad = [
        f"{name} must be an int of at least 0, not {value!r}"
        for name, value in (("from_id", from_id), ("to_id", 0 if to_id is None else to_id))
        if isinstance(value, bool) or not isinstance(value, int) or value < 0
    ]
    if not bad and isinstance(from_id, int) and isinstance(to_id, int) and from_id > to_id:
        bad.append(f"`from_id`, {from_id}, is above `to_id`, {to_id}")
    return bad


def bad_resume(*, resume: bool, where: object) -> list[str]:
    """Say what is wrong with resuming a copy of chosen rows."""
    if resume and where is not None:
        return ["`resume` does not go with `where`: rows it left out before would stay missing"]
    return []


def _bad_int(field: str, value: object, *, least: int, most: int | None = None) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{field} must be an int, not {_shown(value)}"]
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        return [f"{field} must be {bounds}, not {_shown(value)}"]
    return []


def _bad_seconds(field: str, value: object, *, zero: bool) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [f"{field} must be a number of seconds, not {_shown(value)}"]
    if not -MAX_SECONDS <= value <= MAX_SECONDS:  # a NaN is not either
        return [f"{field} must be finite and at most {MAX_SECONDS} seconds, not {_shown(value)}"]
    if value < 0 or (value == 0 and not zero):
        return [f"{field} must be {'at least' if zero else 'more than'} 0, not {_shown(value)}"]
    return []


def _bad_bool(field: str, value: object) -> list[str]:
    return [] if isinstance(value, bool) else [f"{field} must be a bool, not {_shown(value)}"]


def _bad_batch_time(value: float | None, call_timeout: float) -> list[str]:
    if value is None:
        return []
    bad = _bad_seconds("batch_time", value, zero=False)
    if bad or _bad_seconds("call_timeout", call_timeout, zero=False) or value <= call_timeout / 2:
        return bad
    return [f"batch_time must be at most half of call_timeout, {call_timeout}, not {value}"]


def _bad_rate(field: str, value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [f"{field} must be a number a second, not {_shown(value)}"]
    if not 0 < value <= MAX_RATE:  # a NaN is not either
        return [f"{field} must be more than 0 and at most {MAX_RATE:g}, not {_shown(value)}"]
    return []


def _bad_file(field: str, value: object) -> list[str]:
    wrong = None if value is None else wrong_text(value)
    return [] if wrong is None else [f"{field} {wrong}"]


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python writes
        return "a number that is far too big"
    return text if len(text) <= 40 else f"{text[:37]}…"  # noqa: PLR2004 - one line stays one line
