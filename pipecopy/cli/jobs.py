"""`pipecopy jobs`: the jobs of pipecopy.toml, or one with its options; no server is contacted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Signature
from typing import Annotated, Any

from cyclopts import Argument, Parameter

from pipecopy.cli.codes import Exit
from pipecopy.cli.config import InFile, no_job, unset_databases, wrong_database
from pipecopy.cli.configfile import SIDES, ConfigFile, Section
from pipecopy.cli.exits import Ending, failed
from pipecopy.cli.kinds import Flag
from pipecopy.cli.options import IN_FILE, Err, Output, Signals
from pipecopy.cli.result import as_text, result
from pipecopy.cli.sections import Variables, is_unset, together
from pipecopy.cli.wording import in_options
from pipecopy.errors import ConfigError
from pipecopy.observers.text import one_line
from pipecopy.redact import redact, shown_name

_NO_VALUE = "-"
_NOT_SHOWN = (None, False, Signature.empty)
"""The defaults of options that do nothing."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """The value of an option of a job, without a password."""

    value: Any
    """None if it is not known or not valid."""
    text: str
    """As it is written."""
    origin: str | None
    """The variable, or the section of the file; None for the default of the option itself."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as a command would run it."""

    name: str
    parent: str | None
    options: Mapping[str, Option] = field(default_factory=dict)
    problems: Sequence[str] = ()
    """Why it can't run, as far as it is this job's own fault."""

    def text(self, option: str) -> str:
        """Return an option's value as it is written."""
        return self.options[option].text if option in self.options else _NO_VALUE

    @property
    def tables(self) -> str:
        """Return the names of its tables, or the patterns."""
        if "tables" in self.options:
            named = [self.text("table")] if "table" in self.options else []
            return ", ".join([*named, self.text("tables")])
        target = self.text("target_table")
        return self.text("table") + ("" if target == _NO_VALUE else f" -> {target}")

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        values = {name: one.value for name, one in self.options.items()}
        return {
            "name": self.name,
            "extends": self.parent,
            **{name: values.get(name) for name in (*SIDES, "table", "target_table")},
            "problems": [*self.problems],
            "options": {
                name: {"value": one.value, "from": one.origin} for name, one in self.options.items()
            },
        }


def jobs(
    name: Annotated[
        str | None, Parameter(help="The job to show with its options; without it, all are listed.")
    ] = None,
    /,
    *,
    json: Annotated[Flag, Parameter(help="Write them to standard output as JSON.")] = False,
    in_file: Annotated[Any, IN_FILE] = None,  # an InFile: Cyclopts would look into its fields
    err: Err,  # noqa: ARG001 - all commands have it
    signals: Signals,  # noqa: ARG001 - likewise
) -> Ending:
    """List the jobs, or show one, on standard output."""
    try:
        return _listed(in_file, name, json=json)
    except Exception as error:  # noqa: BLE001 - an ending names each
        return failed(error, Output(json=json), "jobs")


def _listed(in_file: InFile, name: str | None, *, json: bool) -> Ending:
    file = in_file.found.file
    if name is not None and (file is None or name not in file.jobs):
        raise ConfigError(no_job(name, in_file.found))
    names = [] if file is None else [name] if name is not None else [*file.jobs]
    given = in_file.environment.values
    wrong = [] if file is None else _clean(in_file.values.wrong_file(file, given=given))
    found = [_job(in_file, file, one) for one in names] if file is not None else []
    code = Exit.USAGE if wrong or any(job.problems for job in found) else Exit.DONE
    if json:
        whole = {
            **result("jobs", code),
            "outcome": "complete",
            "file": file and file.path,
            "looked_in": in_file.found.looked_in,
            "jobs": [job.to_dict() for job in found],
            "problems": wrong,
        }
        return Ending(code=code, text=as_text(whole))
    if file is None:
        return Ending(code=code, text=f"no jobs: {in_file.found.why_none}\n")
    from pipecopy.cli.jobspage import page  # noqa: PLC0415 - loads rich: not for JSON

    return Ending(code=code, text=page(file.path, found, wrong, alone=name is not None))


def _job(in_file: InFile, file: ConfigFile, name: str) -> Job:
    """Return the job with the options that a command would have."""
    values, chain = in_file.values, file.chain(name)
    options = values.of_jobs()
    sections = [in_file.environment, *(file.jobs[one] for one in chain), file.defaults]
    problems = [bad for section in sections[1:] for bad in values.wrong(section, options)]
    problems += [bad for one in chain for bad in file.wrong_parent(one)]
    problems += file.wrong_job(name, given=in_file.environment.values)
    origins: dict[str, str] = {}
    for section in (*sections, file.engine):
        fill = values.fill_engine if section is file.engine else values.fill
        problems += fill(options, section)
        for option, argument in options.items():
            if argument.has_tokens:
                origins.setdefault(option, _origin(section, file, option))
    if all(options[side].has_tokens for side in SIDES):
        problems += unset_databases(options, file)
    return Job(
        name=name,
        parent=parent if isinstance(parent := file.parents.get(name), str) else None,
        options={
            option: _option(option, argument, origins.get(option))
            for option, argument in options.items()
            if option in origins or _is_shown(option, argument, origins)
        },
        problems=_clean(problems or _wrong_together(options, in_file)),
    )


def _is_shown(option: str, argument: Argument, origins: Mapping[str, str]) -> bool:
    """Tell whether the default of an option says something."""
    if option == "table" and "tables" in origins:
        return False
    return argument.field_info.default not in _NOT_SHOWN


def _wrong_together(options: Mapping[str, Argument], in_file: InFile) -> Iterator[str]:
    """Say what of the options, each valid in itself, would end a command before it begins."""
    # `pipecopy verify JOB --repair` may give the other one
    yield from together({name: one for name, one in options.items() if name != "delete_surplus"})
    for side in SIDES:
        token = options[side].tokens[-1]
        if wrong := wrong_database(token.value, in_file.found):
            yield f"{token.keyword}: {'; '.join(wrong)}"


def _option(name: str, argument: Argument, origin: str | None) -> Option:
    if is_unset(argument):
        return Option(value=None, text="not known", origin=origin)
    if not argument.has_tokens:
        default = argument.field_info.default
        write = argument.parameter.show_default
        return Option(value=default, text=_text(default, write), origin=origin)
    try:
        value = argument.convert_and_validate()
    except Exception:  # noqa: BLE001 - it is among the problems
        return Option(value=None, text="not valid", origin=origin)
    if isinstance(value, str):
        value = shown_name(value) if name in SIDES else redact(value)
    is_text = isinstance(value, str | bool | tuple)
    written = _text(value) if is_text else argument.tokens[-1].value
    return Option(value=value, text=written, origin=origin)


def _text(value: Any, write: object = None) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(value)
    return str(write(value) if callable(write) else value)


def _origin(section: Section, file: ConfigFile, option: str) -> str:
    if isinstance(section, Variables):
        return section.origin(option)
    return f"[{section.name.removeprefix(f'{file.path}: ')}]"


def _clean(problems: Iterable[str]) -> list[str]:
    return [redact(one_line(in_options(problem))) for problem in dict.fromkeys(problems)]
