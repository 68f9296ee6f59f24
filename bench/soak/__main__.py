"""`python -m bench.soak`: faults strike copies of a table that is written to meanwhile.

Exit code 0 if nothing hung, nothing was left, lost, doubled or different, and every limit was
kept; 1 otherwise. The same seed makes the same plan of faults.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.soak.measures import show
from bench.soak.runner import Runner, StuckError
from bench.soak.scene import Scene, scene


def main() -> None:
    options = _options()
    _take_signals()
    try:
        result = _soak(options)
    except KeyboardInterrupt:
        sys.exit(130)
    show(result, Console(width=100))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.flush()
    if result["stuck"]:
        os._exit(1)  # a copy that hangs could hold up the interpreter's exit
    sys.exit(0 if result["clean"] else 1)


def _soak(options: argparse.Namespace) -> dict[str, Any]:
    began = time.monotonic()
    stuck = False
    with scene(options.seed) as place:
        machine = _machine(place)
        runner = Runner(place, options.seed, options.faults, _progress)
        try:
            runner.run(60 * options.minutes)
        except StuckError:
            stuck = True
    return {
        "seed": options.seed,
        "machine": machine,
        "seconds_taken": round(time.monotonic() - began),
        "stuck": stuck,
        **runner.measures.to_dict(),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--faults", type=int, default=100, help="how many; default: 100")
    parser.add_argument(
        "--minutes", type=float, default=600, help="at most so long, whatever is left to strike"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to FILE")
    return parser.parse_args()


def _take_signals() -> None:
    """Clean up on all that ends it; what nohup or `&` has ignored is not passed on to commands."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ignored = signal.getsignal(number) == signal.SIG_IGN
        signal.signal(number, _go_on if ignored else _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _go_on(*_: object) -> None:
    pass


def _machine(place: Scene) -> dict[str, Any]:
    versions = (
        site.server.query("SHOW server_version")[0][0]
        for site in (place.source_site, place.target_site)
    )
    return {
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
        "psycopg": version("psycopg"),
        "PostgreSQL": " to ".join(versions),
    }


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
