"""No password appears in a message, log, report or repr."""

from __future__ import annotations

import re

_HIDDEN = "***"
_PATTERNS = (
    # scheme://user:password@host; a password may itself hold an unescaped @ or /
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^:@/?#\s]*:)\S*@", re.IGNORECASE), rf"\1{_HIDDEN}@"),
    # password=… and sslpassword=…, bare, quoted, or in a URI's query
    (
        re.compile(r"(\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&]+)", re.IGNORECASE),
        rf"\1{_HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """Return the text with the passwords of connection strings in it hidden."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
