"""Jobs and databases: what the parts of the configuration file mean together."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pipecopy.cli.configfile import ConfigFile, key_text
from pipecopy.cli.settings import Settings, conflicts, hint
from pipecopy.redact import redact

SIDES = ("source", "target")


def problems_of_jobs(file: ConfigFile, *, given: Collection[str]) -> tuple[str, ...]:
    """Say what is wrong with the databases and the jobs, beyond each value by itself.

    `given` are the options that variables set: a job may do without them.
    """
    found = [*_unreadable(file), *_unknown_databases(file, file.defaults)]
    # each section by itself: what comes from several may be taken back, so the command looks at it
    found += conflicts(file.defaults)
    for name, job in file.jobs.items():
        found += _unknown_databases(file, job)
        found += [
            f"{file.path}: {key_text('jobs', name)} has no {side}"
            for side in SIDES
            if not (
                side in job
                or side in file.defaults
                or side in given
                or file.wrong & {key_text("jobs", name, side), key_text("defaults", side)}
            )
        ]
        found += conflicts(job)
    return tuple(dict.fromkeys(found))


def no_such_job(name: str, file: ConfigFile | None, *, command: str) -> str:
    """Say that there is no job of that name, and what else there is."""
    shown = redact(name)
    both = f"{command} takes a SOURCE and a TARGET, or the name of a job"
    if file is None:
        return (
            f'there is no job "{shown}": the working directory has no pipecopy.toml, and no other'
            f" file was named by --config or PIPECOPY_CONFIG; {both}"
        )
    if name in file.databases:
        return f'{file.path} has no job "{shown}", but a database of that name: {both}'
    jobs = ", ".join(file.jobs)
    there = (
        f"its jobs: {jobs}{hint(name, {job: job for job in file.jobs})}"
        if jobs
        else "it has no jobs at all"
    )
    return f'{file.path} has no job "{shown}"; {there}'


def _unreadable(file: ConfigFile) -> Iterator[str]:
    for name, text in file.databases.items():
        if not _is_readable(text):
            key = key_text("databases", name)
            yield f"{file.path}: {key} is neither a URI nor a list of keyword=value"


def _unknown_databases(file: ConfigFile, settings: Settings) -> Iterator[str]:
    """Tell which sides name no database; a bare word is no service here, it may be mistyped."""
    for side in SIDES:
        text = settings[side].value if side in settings else None
        if text is None or text in file.databases or key_text("databases", text) in file.wrong:
            continue
        origin = settings[side].origin
        if "=" not in text and "://" not in text:
            known = ", ".join(file.databases) or "it is empty"
            yield (
                f'{origin}: "{redact(text)}" is not in [databases] ({known}), nor is it a URI or'
                f" a connection string such as service={redact(text)}"
            )
        elif not _is_readable(text):
            yield f"{origin} is neither a URI nor a list of keyword=value"


def _is_readable(text: str) -> bool:
    from pipecopy.postgres import conninfo  # noqa: PLC0415 - loads psycopg: not for --help
    from pipecopy.postgres.errors import PostgresError  # noqa: PLC0415 - the same

    try:
        conninfo.parameters(conninfo.find(text, {}), None)
    except PostgresError:
        return False
    return True
