"""The limits of this process's cgroup, as version 1 or 2 of cgroups shows them, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_NO_LIMIT = 2**60
"""Bytes: version 1 has a number near 2**63 if there is no limit."""


def memory_limit() -> str | None:
    """Return the limit of memory; None if there is none."""
    found: list[tuple[int, Path]] = []
    for folder in _folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            most = _number(folder / name)
            if most is not None and most < _NO_LIMIT:
                found.append((most, folder))
    if not found:
        return None
    least, folder = min(found)
    kills = _oom_kills(folder)
    return f"the limit of its cgroup is {least / 2**20:g} MiB of memory" + (
        f", for which {kills} of its processes have been killed so far" if kills else ""
    )


def tasks_limit() -> str | None:
    """Return the limit of processes and threads if it is reached; None if it is not."""
    for folder in _folders("pids"):
        most, now = (_number(folder / f"pids.{name}") for name in ("max", "current"))
        if most is not None and now is not None and now >= most:
            return (
                f"the limit of its cgroup is {most} processes and threads (pids.max),"
                f" {now} of them run"
            )
    return None


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup, and of those that it is in."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup", controller if controllers else "")
        inner = root / path.lstrip("/")
        # in a container the path may be the host's: then the root is this process's
        yield from (each for each in (inner, *inner.parents) if each.is_relative_to(root))


def _oom_kills(folder: Path) -> int:
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            for line in (folder / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # there is none, or it is "max"
        return None
