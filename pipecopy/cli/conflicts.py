"""Which options, each valid in itself, do not go together."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from itertools import combinations

from pipecopy.units import duration_text


def conflicts(
    *,
    from_id: int = 0,
    to_id: int | None = None,
    resume: bool = False,
    columns: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
    where: str | None = None,
    batch_time: float | None = None,
    call_timeout: float = math.inf,
    repair: bool = False,
    delete_surplus: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    table: str | tuple[str, ...] = "",
    tables: tuple[str, ...] | None = None,
    exclude_table: tuple[str, ...] | None = None,
    target_table: str | None = None,
    many: bool = False,
    shards: int | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    shard_retries: int | None = None,
    run: str | None = None,
    shard: int | None = None,
    pause_file: str | None = None,
    metrics_file: str | None = None,
    report: str | None = None,
) -> list[str]:
    """Say which options, each valid in itself, do not go together.

    `many`: for one of several jobs.
    """
    bad = []
    if to_id is not None and from_id > to_id:
        bad.append(f"--from-id {from_id} is above --to-id {to_id}")
    if columns is not None and exclude is not None:
        bad.append("--exclude does not go with --columns, which names all that is copied")
    if resume and where is not None:
        bad.append("--resume does not go with --where: rows it left out before would stay missing")
    if delete_surplus and not repair:
        bad.append("--delete-surplus needs --repair")
    if quiet and verbose:
        bad.append("--verbose does not go with --quiet")
    if batch_time is not None and batch_time > call_timeout / 2:
        bad.append(
            f"--batch-time {duration_text(batch_time)} is more than half of --call-timeout"
            f" {duration_text(call_timeout)}: a save that takes longer than planned would be killed"
        )
    several = tables is not None or not isinstance(table, str)
    if exclude_table is not None and tables is None:
        bad.append("--exclude-table needs --tables: what it leaves out is left out of that")
    if several:
        bad += _of_one_table(
            {
                "--target-table": target_table,
                "--columns": columns,
                "--exclude": exclude,
                "--where": where,
                "--from-id": from_id or None,
                "--to-id": to_id,
                "--resume": resume or None,
            }
        )
    bad += _of_shards(
        {"--jobs": jobs, "--dask": dask, "--shard-retries": shard_retries},
        {
            "--shards": shards,
            "--resume": resume or None,
            "--from-id": from_id or None,
            "--to-id": to_id,
        },
        several=several or many,
        run=run,
        shard=shard,
    )
    files = {"--pause-file": pause_file, "--metrics-file": metrics_file, "--report": report}
    named = {option: os.path.normpath(path) for option, path in files.items() if path is not None}
    bad += [
        f"{one} and {other} name the same file"
        for one, other in combinations(named, 2)
        if named[one] == named[other]
    ]
    return bad


def _of_one_table(options: Mapping[str, object]) -> Iterator[str]:
    """Say which options are for one table alone."""
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        yield (
            f"{_do_not_go(given)} with several tables: give each a job in pipecopy.toml, and the"
            " names of the jobs to one command"
        )


def _of_shards(
    engine: Mapping[str, object],
    planned: Mapping[str, object],
    *,
    several: bool,
    run: str | None,
    shard: int | None,
) -> Iterator[str]:
    """Say what is wrong with the options of a sharded run.

    `engine` are those of what drives it, `planned` those that its plan has taken note of.
    """
    engine = {name: value for name, value in engine.items() if value is not None}
    planned = {name: value for name, value in planned.items() if value is not None}
    if shard is not None and run is None:
        yield f"--shard {shard} needs --run: the id that `pipecopy plan` has printed"
    if run is not None and planned:
        yield f"{_do_not_go(planned)} with --run: the run goes on as it was planned"
    elif {"--shards", "--resume"} <= planned.keys():
        yield "--resume does not go with --shards: --run goes on with a sharded run"
    if not engine:
        return
    if shard is not None:
        yield f"{_do_not_go(engine)} with --shard, which copies one shard in this process"
    elif run is None and "--shards" not in planned and not several:
        yield (
            f"{', '.join(engine)}: a copy has shards with --shards, --run or several tables alone"
        )
    elif "--dask" in engine and "--jobs" not in engine:
        yield "--dask needs --jobs: how many shards are copied at once"


def _do_not_go(names: Mapping[str, object]) -> str:
    return f"{' and '.join(names)} {'does' if len(names) == 1 else 'do'} not go"
