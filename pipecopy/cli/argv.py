"""What can be told of the command line before it is parsed, or if it can't be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ON = ("true", "yes", "1", "on")
"""How a flag is set in a text."""


def command_of(argv: Sequence[str]) -> str | None:
    """Return the word that names the command; None if there is none."""
    return argv[0] if argv and not argv[0].startswith("-") else None


def asks_for_json_lines(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Tell the same of the lines on standard error."""
    found = environ.get("PIPECOPY_LOG_FORMAT", "")
    for word, after in zip(argv, [*argv[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name == "--log-format":
            found = value if equals else after
    return found.lower() == "json"


def asks_for_json(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Tell whether the command line, or else the environment, asks for JSON; a file may ask too."""
    words = [word.partition("=") for word in argv]
    given = [value if equals else "true" for name, equals, value in words if name == "--json"]
    return [environ.get("PIPECOPY_JSON", ""), *given][-1].lower() in ON
