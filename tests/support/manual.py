"""The manual: its pages, the README among them, and what stands in their blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pipecopy

ROOT = Path(pipecopy.__file__).parents[1]
FOLDER = ROOT / "pipecopy" / "guide"
README = ROOT / "README.md"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in sorted(FOLDER.glob("*.md"))}
"""The text of each topic."""
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def all_pages() -> dict[str, str]:
    """Return the topics and the README, by the names of the files."""
    own = {f"{name}.md": text for name, text in PAGES.items()}
    return {"README.md": README.read_text(encoding="utf-8"), **own}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield each block of code in that language, with the name of its file."""
    for name, text in all_pages().items():
        yield from ((name, code) for _, lang, code in _BLOCK.findall(text) if lang == language)
