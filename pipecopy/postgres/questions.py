"""Questions to the server: those that are independent of each other go in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

import psycopg

from pipecopy.postgres.names import CATALOG_PATH

Answer = TypeVar("Answer")
Rows: TypeAlias = list[tuple[Any, ...]]
Question: TypeAlias = Generator[str, Rows, Answer]
"""Yields SQL, each time with one statement that returns rows, and is sent these; returns what it
makes of them. It need not ask at all, or may ask again. SQL of the catalogs begins with
`CATALOG_PATH`; any other has to mean the same under any search path."""


def ask(query_all: Callable[[str], list[Rows]], *questions: Question[Any]) -> list[Any]:
    """Return the answers; `query_all` runs statements in one round trip, as the session's does.

    It takes as many round trips as the question that asks most often. What is asked by the role's
    own search path comes first, in the order of the questions, then what is asked of the catalogs:
    their path stays in force until the end of the query string.
    """
    answers: dict[int, Any] = {}
    answered: dict[int, Rows | None] = dict.fromkeys(range(len(questions)))
    while answered:
        asked: dict[int, str] = {}
        for number, rows in answered.items():
            try:
                # what generators take first is None
                asked[number] = questions[number].send(rows)  # type: ignore[arg-type]
            except StopIteration as end:
                answers[number] = end.value
        order = sorted(asked, key=lambda number: asked[number].startswith(CATALOG_PATH))
        results = query_all("; ".join(asked[number] for number in order)) if order else []
        answered = dict(zip(order, results, strict=True))
    return [answers[number] for number in range(len(questions))]


def rows_of_each(cursor: psycopg.Cursor[Any]) -> list[Rows]:
    """Return the rows of each statement that returns some."""
    rows = [cursor.fetchall()] if cursor.description else []
    while cursor.nextset():
        if cursor.description:
            rows.append(cursor.fetchall())
    return rows
