"""What a page says, for tests that need no browser."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path


def text_of(path: Path) -> str:
    """Return what a page says, without its tags."""
    body = path.read_text().partition("<body>")[2].partition('<script type="application/json"')[0]
    joined = re.sub(r'</?(?:span class="nowrap"|span|code)>', "", body)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", joined)))
