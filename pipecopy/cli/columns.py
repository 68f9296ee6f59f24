"""Column names as one option has them: `a,b,c`."""

from __future__ import annotations

import re

_NAME = re.compile(r'(?:[^",]|"(?:[^"]|"")*")+')


def columns_of(text: str) -> tuple[str, ...]:
    """Return the names as they are written: a comma within double quotes belongs to one.

    A ValueError says what is wrong with the list.
    """
    names = []
    position = 0
    while (match := _NAME.match(text, position)) and match[0].strip():
        names.append(match[0].strip())
        if match.end() == len(text):
            return tuple(names)
        position = match.end() + 1
        if text[match.end()] != ",":
            break
    raise ValueError(f"'{text}' is no list of columns such as id,data or id,\"a, b\"")
