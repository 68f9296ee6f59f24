"""What `--help` says besides the options: python -OO would take it away if it were docstrings."""

from __future__ import annotations

from typing import NamedTuple

from pipecopy.cli.codes import EXIT_CODES


class Help(NamedTuple):
    """What the help of a command says before and after its options."""

    text: str
    example: str

    @property
    def epilogue(self) -> str:
        """Return what comes last."""
        more = "Exit codes and configuration: pipecopy --help. The manual: pipecopy guide."
        return f"Example:\n  {self.example}\n\n{more}"


EPILOGUE = f"""\
{EXIT_CODES}

Configuration:
  Databases and jobs have names in ./pipecopy.toml, else in the one in
  ~/.config/pipecopy or /etc/pipecopy, or in --config FILE:

    [databases]
    prod = "service=prod"     # a URI, a connection string, or a
    stats = "service=stats"   # service in ~/.pg_service.conf

    [jobs.nightly]            # run by: pipecopy copy nightly
    source = "prod"
    target = "stats"
    table = "public.profiles"
    call_timeout = "30s"      # any option, by its long name

    [jobs.weekly]
    extends = "nightly"       # its options, but for those here
    where = "region = '${{REGION}}'"   # the value of a variable

  [defaults] has options for all jobs. Any option may also be set in the
  environment: PIPECOPY_CALL_TIMEOUT=30s. The command line comes first,
  then the environment, the job, and the defaults. --resume=false
  overrides a flag set in the environment or the file.

The manual: pipecopy guide"""
"""Of the whole."""
COPY = Help(
    """\
Copy a table to another PostgreSQL server, in batches of ids.

A duration is written 250ms, 30s, 5m, 1h30m or 1d; a bare number is seconds.
A size is written 64M or 64MiB (the same), or 64MB; a number 10000 or 10k.
""",
    "pipecopy copy service=prod service=stats --table orders --call-timeout 1m",
)
CHECK = Help(
    """\
Say whether a copy can start, and what it would do.

Nothing is written. Takes the options of `copy`, but for --run and --shard. The
checklist goes to standard output; the exit code is the one that the copy would
end with, 0 if it can start.
""",
    "pipecopy check service=prod service=stats --table orders",
)
VERIFY = Help(
    """\
Compare a table on two servers, and repair it if asked to.

Ranges of ids are compared by checksums; one that differs is narrowed down to
the ids. Generated columns are compared too. The exit code is 5 if the tables
differ in the end, 0 if they are equal.
""",
    "pipecopy verify service=prod service=stats --table orders --repair",
)
PLAN = Help(
    """\
Plan a copy in shards, for processes that copy one shard each.

Finds the ranges of ids and writes them into a table in the target, the ledger.
Takes the options of `copy`. The shards, the id of the run and the commands that
copy them go to standard output.
""",
    "pipecopy plan nightly --shards 200",
)
RUNS = Help(
    """\
List the runs with shards that are not complete, and how far each is.

It is read from the ledger in the target, also while a run is under way. The
source is not contacted. --drop removes a run that nobody goes on with; the rows
that it has copied stay.
""",
    "pipecopy runs nightly",
)
DEMO = Help(
    """\
See a copy between two servers of its own.

PostgreSQL 16 (PROD) and 18 (STATS) are started in a temporary folder, and
removed at the end; the table profiles is filled, copied, and compared on both.
It needs the extra: pip install "pipecopy[demo]"
""",
    "pipecopy demo --hang",
)
DRILL = Help(
    """\
Break something in the middle of six copies: see how each ends.

The servers are those of `pipecopy demo`. The faults: a driver that deadlocks in
C, a stopped process, a lock, a silent network, a killed server, DDL. A line for
each says what was broken, the limit, when the call ended, what was retried and
what was verified. The exit code is 0 if each ended as promised.
It needs the extra: pip install "pipecopy[demo]"
""",
    "pipecopy drill --call-timeout 1s",
)
JOBS = Help(
    """\
List the jobs of pipecopy.toml, or show the options of one.

No server is contacted. Each value of an option comes with where it is set.
The exit code is 2 if something is wrong with a job, or with the file.
""",
    "pipecopy jobs nightly",
)
GUIDE = Help(
    """\
Read the manual: list the topics, or show one.

On a terminal the page is laid out, elsewhere it is Markdown.
""",
    "pipecopy guide exit-codes",
)
