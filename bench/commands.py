"""Runs other programs, and leaves none of them behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

LONGEST = 600.0
"""Seconds that one command may take."""


class CommandError(RuntimeError):
    """A command failed."""


def run_command(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, until: str | None = None
) -> tuple[float, str]:
    """Run it to its end; return its seconds and what it wrote to both of its streams.

    With `until`, the seconds are those until it first writes a line with this text.
    """
    began = time.monotonic()
    seconds: float | None = None
    lines: list[str] = []
    with _alone(command, env) as process:
        # a tool that hangs says nothing, and would be read for ever
        limit = threading.Timer(LONGEST, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        try:
            for line in process.stdout or ():
                lines.append(line)
                if until is not None and seconds is None and until in line:
                    seconds = time.monotonic() - began
            code = process.wait()
        finally:
            limit.cancel()
    output = "".join(lines)
    if code:
        raise CommandError(f"{Path(command[0]).name} ended with code {code}:\n{output[-2000:]}")
    return time.monotonic() - began if seconds is None else seconds, output


@contextlib.contextmanager
def _alone(
    command: Sequence[str], env: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[str]]:
    """Start it in a process group of its own, which is gone when the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="pipecopy-bench-") as home,
        subprocess.Popen(
            command,
            env={**os.environ, "HOME": home, "TMPDIR": home, **(env or {})},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
