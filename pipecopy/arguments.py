"""How a message names an argument, so that the command can name its option instead.

The library says `columns` between backquotes, and the command then says `--columns`: whatever
stands between backquotes is Python that names arguments, and `cli/wording.py` is the one place that
reads it. What is no argument stays as it is.

::

    "leave the column out (`columns`)"                    -> (`--columns`)
    f"leave them out with {argument(where='id >= 0')}"    -> with `--where 'id >= 0'`
    f"run {function_call('verify_tables', repair=True)}"  -> run `verify --repair`
"""

from __future__ import annotations


def argument(**values: object) -> str:
    """Return the arguments with their values, for a message."""
    return f"`{_listed(values)}`"


def function_call(function: str, **values: object) -> str:
    """Return the call of a function of the library with these arguments, for a message."""
    return f"`{function}({_listed(values)})`"


def _listed(values: dict[str, object]) -> str:
    # a backquote would end it
    return ", ".join(f"{name}={value!r}" for name, value in values.items()).replace("`", r"\x60")
