"""What the library says of its arguments, said of the command's options: see `arguments.py`."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from pipecopy.cli.options import (
    CopyOptions,
    Engine,
    GoOn,
    IdRange,
    Ledger,
    Limits,
    RepairOptions,
    Selection,
    Shards,
)

Said = TypeVar("Said")

_GROUPS = (Selection, IdRange, CopyOptions, RepairOptions, Limits, Shards, Engine, GoOn, Ledger)
_OF_THE_COMMAND = {"max_rate", "dask", "shard"}
"""Options that are no arguments: the library has others for them."""
OPTIONS = {field.name for group in _GROUPS for field in fields(group)} - _OF_THE_COMMAND
"""The arguments of the library that are options of the command, under the same name."""
COMMANDS = {
    "copy_table": "copy",
    "copy_sharded": "copy",
    "check_copy": "check",
    "verify_tables": "verify",
    "plan_sharded": "plan",
    "runs_of": "runs",
    "drop_run": "runs",
}
_SIDES = ("SOURCE", "TARGET")
"""What a command that is to be run takes besides its options; without any, it is only named."""
_RENAMED = {("drop_run", "run"): "drop"}
"""Arguments of a function that are options of another name."""
_MARKED = re.compile(f"`((?:{'|'.join(OPTIONS | COMMANDS.keys())})(?:[=(][^`]*)?)`")
_SENTENCES = {
    *("report", "tables", "warnings", "items", "message", "remedy", "detail", "differences"),
    *("not_comparable_ids", "not_repaired_ids", "reason", "runs", "error"),
}
"""The attributes that are, or hold, what pipecopy says. All others are facts: a table's name, what
a driver has printed, a traceback."""


def in_options(said: Said) -> Said:
    """Return an event, a report or a text with options instead of arguments.

    An exception is changed itself, with the report on it.
    """
    value: Any = said
    match value:
        case str():
            value = _MARKED.sub(_option, value)
        case tuple():
            value = tuple(map(in_options, value))
        case BaseException():
            value.args = in_options(value.args)
            vars(value).update(_sentences(value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            value = replace(value, **_sentences(value))
    found: Said = value
    return found


def _sentences(value: object) -> dict[str, Any]:
    return {name: in_options(each) for name, each in vars(value).items() if name in _SENTENCES}


def _option(marked: re.Match[str]) -> str:
    """Return what stands between backquotes as the command line has it."""
    try:
        return f"`{' '.join(_words(ast.parse(f'_({marked[1]})', mode='eval').body))}`"
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # it is not ours
        return marked[0]


def _words(python: ast.expr) -> Iterator[str]:
    """Yield the words of the arguments of a call, or of the command that the call is."""
    match python:
        case ast.Call(func=ast.Name(id="_"), args=[ast.Name(id=name)], keywords=[]):
            yield _name(name)
        case ast.Call(func=ast.Name(id="_"), args=[ast.Call() as inner], keywords=[]):
            yield from _words(inner)
        case ast.Call(func=ast.Name(id=function), args=[], keywords=given) if function in {
            "_",
            *COMMANDS,
        }:
            if function != "_":
                yield from ("pipecopy", COMMANDS[function])
                yield from _SIDES if given else ()
            for each in given:
                yield _name(_RENAMED.get((function, each.arg or ""), each.arg))
                yield from _value(ast.literal_eval(each.value))
        case _:
            raise ValueError


def _name(name: str | None) -> str:
    if name not in {*OPTIONS, *_RENAMED.values()}:
        raise ValueError
    return f"--{name.replace('_', '-')}"


def _value(value: object) -> Iterator[str]:
    """Yield the value of an option, if it has one."""
    match value:
        case True:
            return
        case list() | tuple():
            yield shlex.quote(",".join(map(str, value)))
        case _:
            yield shlex.quote(str(value))
