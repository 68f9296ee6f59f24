"""`python -m bench.soak.ddl`: each statement strikes copies of a table at random moments.

Exit code 0 if each copy was right, or ended with the error that says what changed and a true
`next_id`; 1 otherwise. The same seed makes the same moments, as far as a moment can be had again.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.faults.alt import STATEMENTS, strike
from tests.support.checks import Tables
from tests.support.databases import temporary_database
from tests.support.servers import PostgresServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak.ddl", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--moments", type=int, default=30, help="of each statement; default: 30")
    options = parser.parse_args()
    wrong = 0
    with (
        PostgresServer(16) as prod,
        PostgresServer(18) as stats,
        temporary_database(prod) as source,
        temporary_database(stats) as target,
    ):
        tables = Tables(source=source, target=target)
        for name, (side, sql) in STATEMENTS.items():
            ends: Counter[str] = Counter()
            for moment in range(options.moments):
                try:
                    ends[strike(tables, name, f"{options.seed} {moment}")] += 1
                except AssertionError as error:
                    wrong += 1
                    ends["wrong"] += 1
                    print(f"  moment {moment}: {error}", file=sys.stderr)
            ended = ", ".join(f"{count} {end}" for end, count in ends.items())
            print(f"{side}: {sql}\n    {ended}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
