"""Starts programs that are no children of the tests' process, and ends them with it.

A line on standard input is a program as JSON: `argv`, `env`, `log`; the answer is its process id.
Each has a session of its own. At the end of the input all sessions are killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    started: list[subprocess.Popen[bytes]] = []
    for line in sys.stdin:
        program = json.loads(line)
        with Path(program["log"]).open("ab") as log:
            process = subprocess.Popen(
                program["argv"],
                env=program["env"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started = [*(each for each in started if each.poll() is None), process]
        sys.stdout.write(f"{process.pid}\n")
        sys.stdout.flush()
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
