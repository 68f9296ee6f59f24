"""`python -m bench`: pipecopy beside `psql COPY | psql COPY`, on two servers of the demo's wheel.

Medians of several rounds, all in one run, and the ratio of throughputs: 1.00 is the pipe's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.contenders import Contender, Pipe, Pipecopy
from bench.rounds import run_rounds, summary
from bench.servers import Servers, servers


def main() -> None:
    options = _options()
    contenders: list[Contender] = [Pipe(), Pipecopy(batch_size=options.batch_size)]
    _progress(f"filling profiles with {options.rows:,} rows")
    with servers(options.rows) as both:
        machine = _machine(both)
        size = both.source.value("SELECT pg_table_size('profiles')") / 1e6
        _progress(f"{size:,.0f} MB on {', '.join(f'{k} {v}' for k, v in machine.items())}")
        seconds = run_rounds(both, contenders, options.rounds, _progress)
    result = summary(seconds, options.rows)
    print(f"{'median of ' + str(options.rounds):<45}{'seconds':>9}{'rows/s':>12}{'ratio':>8}")
    for name, figures in result.items():
        figures_text = f"{figures['seconds']:9.2f}{figures['rows_per_second']:12,.0f}"
        print(f"{name:<45}{figures_text}{figures['ratio']:8.2f}")
    if options.json:
        written = {"rows": options.rows, "machine": machine, "seconds": seconds, "median": result}
        options.json.write_text(json.dumps(written, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: 1,000,000")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--batch-size", type=int, default=10_000, help="default: 10,000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all times to FILE")
    return parser.parse_args()


def _machine(both: Servers) -> dict[str, Any]:
    prod, stats = (db.value("SHOW server_version") for db in (both.source, both.target))
    return {
        "cores": os.cpu_count(),
        "Python": platform.python_version(),
        "psycopg": version("psycopg"),
        "PostgreSQL": f"{prod} to {stats}",
    }


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
