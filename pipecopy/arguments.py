"""What an argument has to be to be a text; and how a message names an argument.

So the command can name its option instead.

The library says `columns` between backquotes, and the command then says `--columns`: whatever
stands between backquotes is Python that names arguments, and `cli/wording.py` is the one place that
reads it. What is no argument stays as it is.

::

    "leave the column out (`columns`)"                    -> (`--columns`)
    f"leave them out with {argument(where='id >= 0')}"    -> with `--where 'id >= 0'`
    f"run {function_call('drop_run', run='0a')}"  -> run `pipecopy runs SOURCE TARGET --drop 0a`
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


def wrong_text(text: object) -> str | None:
    """Say why no server can take the argument as a text; None if one can."""
    if not isinstance(text, str):
        return f"must be a text, not {type(text).__name__}"
    if not text.strip():
        return "is empty"
    if "\0" in text:
        return "has a NUL character in it"
    try:
        text.encode()
    except UnicodeEncodeError:  # Python has half characters for the bytes of others
        return "is not encoded in UTF-8, or not as the locale says (LC_ALL, LANG)"
    return None
