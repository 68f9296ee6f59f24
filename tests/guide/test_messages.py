"""What the manual tells of a message is about one that pipecopy has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.manual import PAGES, ROOT

_OF_OTHERS = {
    "Connection refused",
    "failed to resolve host",
    "pg_hba.conf rejects connection for host",
    "no pg_hba.conf entry for host",
    'database "…" does not exist',
    'role "…" does not exist',
    "server closed the connection unexpectedly",
    "password authentication failed",
    "no password supplied",
    "No space left on device",
    "terminating connection due to administrator command",
    "the database system is starting up",
    "sorry, too many clients already",
}
"""What libpq, the server and the system say."""


def texts() -> Iterator[str]:
    """Yield each text of the code, with `…` for what is put into it."""
    for path in (ROOT / "pipecopy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.JoinedStr(values=values):
                    yield "".join(
                        str(v.value) if isinstance(v, ast.Constant) else "…" for v in values
                    )
                case ast.Constant(value=str() as text):
                    yield text


ALL = "\n".join(texts())
HEADINGS = re.findall(r"^### (.*)", PAGES["exit-codes"], re.MULTILINE)
MESSAGES = [message for heading in HEADINGS for message in re.findall("`([^`]+)`", heading)]


def test_each_heading_is_a_message_or_several() -> None:
    assert len(MESSAGES) > 20
    for heading in HEADINGS:
        assert not re.sub("`[^`]+`", "", heading).replace(" or ", "").strip()
        assert f"\n### {heading}\n\n- " in PAGES["exit-codes"]  # what it means, what to do


@pytest.mark.parametrize("message", [one for one in MESSAGES if one not in _OF_OTHERS])
def test_a_message_that_is_explained_is_one_that_the_code_has(message: str) -> None:
    parts = [part.strip(" :;,") for part in message.split("…")]
    assert any(parts)
    for part in parts:
        assert part in ALL
