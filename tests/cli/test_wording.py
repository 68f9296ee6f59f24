"""The library speaks of arguments, the command of options."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import pipecopy
from pipecopy import CopyReport
from pipecopy.arguments import argument, function_call
from pipecopy.cli import app
from pipecopy.cli.wording import COMMANDS, OPTIONS, in_options
from pipecopy.errors import DatabaseError, TableMismatchError
from pipecopy.events import DriverOutput, Warned
from pipecopy.postgres import PostgresPool


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("or leave it out (`columns`)", "or leave it out (`--columns`)"),
        (f"or with {argument(from_id=7)}.", "or with `--from-id 7`."),
        (
            argument(where="\"id\" >= 0 AND a <> 'x`'"),
            """`--where '"id" >= 0 AND a <> '"'"'x`'"'"''`""",
        ),
        (argument(columns=["id", '"a b"']), """`--columns 'id,"a b"'`"""),
        (argument(repair=True, delete_surplus=True), "`--repair --delete-surplus`"),
        (
            function_call("verify_tables", repair=True),
            "`pipecopy verify SOURCE TARGET --repair`",
        ),
        (function_call("copy_table"), "`pipecopy copy`"),
        (argument(run="0a"), "`--run 0a`"),
        (function_call("drop_run", run="0a"), "`pipecopy runs SOURCE TARGET --drop 0a`"),
        # what is none of ours
        ('no `if __name__ == "__main__":` guard', 'no `if __name__ == "__main__":` guard'),
        ("the table `data` of `os.system(create=True)`, ` or ``", None),
        (f"`key={'-' * 100_000}1`", None),
    ],
)
def test_an_argument_becomes_an_option(said: str, shown: str | None) -> None:
    assert in_options(said) == (said if shown is None else shown)


def test_in_an_event_a_report_and_an_error_on_their_way_to_the_user() -> None:
    report = CopyReport.of(None, "a", "b", warnings=("copy with `settle`",))
    error = TableMismatchError("no: `create`", differences=("no: `create`",), report=report)
    shown = in_options(error)
    assert (str(shown), shown.differences) == ("no: `--create`", ("no: `--create`",))
    assert shown.report.warnings == ("copy with `--settle`",)
    assert in_options(Warned(message="`key`")) == Warned(message="`--key`")


def test_a_fact_stays_as_it_is() -> None:
    output = DriverOutput(side="source", dbname="`key`", text="`key`")
    assert in_options(output) == output
    report = CopyReport(run_id="a", source="`key`", target="b", table="`table`")
    error = DatabaseError("no", driver_traceback="`key`", report=report)
    shown = in_options(error)
    assert (shown.driver_traceback, shown.report) == ("`key`", report)


def test_every_option_is_an_argument_of_both() -> None:
    library = {field.name for field in fields(pipecopy.Config)}
    functions = (pipecopy.copy_table, pipecopy.copy_sharded, pipecopy.verify_tables)

    for function in (PostgresPool, pipecopy.find_tables, *functions):
        library |= {*inspect.signature(function).parameters}
    root, _ = app.build_app({})
    command = {
        option.name.removeprefix("--").replace("-", "_")
        for name in COMMANDS.values()
        for option in root[name].assemble_argument_collection()
    }
    assert library >= OPTIONS
    assert command >= OPTIONS


def test_the_library_marks_each_argument_and_names_no_option() -> None:
    texts = [
        text for folder in ("operations", "postgres", "supervisor") for text in said_in(folder)
    ]
    assert len(texts) > 1000
    assert [text for text in texts if re.search(r"(?<![\w-])--[a-z]", text)] == []
    marked = [name for text in texts for name in re.findall(r"`([^`]+)`", text)]
    assert len(marked) > 10
    assert [name for name in marked if in_options(f"`{name}`") == f"`{name}`"] == []


FILE = "pipecopy/"


def said_in(folder: str) -> Iterator[str]:
    """Yield the texts in the code of a folder, but not what is written about the code."""
    for path in (Path(pipecopy.__file__).parent / folder).glob("*.py"):
        tree = ast.parse(path.read_text())
        about = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            match node:
                case ast.Constant(value=str(text)) if id(node) not in about and FILE not in text:
                    yield text
