"""`pipecopy guide`: the manual that travels with the package, for a host without a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated

from pipecopy.cli.exits import Ending, failed
from pipecopy.cli.kinds import described
from pipecopy.cli.options import Output
from pipecopy.errors import ConfigError
from pipecopy.finding import did_you_mean

WIDEST = 100
"""Characters of a line on a terminal: a longer one is hard to read."""


@cache
def _pages() -> dict[str, Traversable]:
    """Return the files by the names of their topics, in order."""
    folder = files("pipecopy") / "guide"  # in a zipapp too
    pages = [page for page in folder.iterdir() if page.name.endswith(".md")]
    return {page.name.removesuffix(".md"): page for page in sorted(pages, key=lambda p: p.name)}


def guide(
    topic: Annotated[
        str | None, described("The topic to show; without it, all are listed.")
    ] = None,
    /,
) -> Ending | None:
    """List the topics, or show one, on standard output."""
    if topic is not None and topic not in _pages():
        hint = did_you_mean(topic, _pages())
        wrong = f'the guide has no topic "{topic}"{hint}; its topics: {", ".join(_pages())}'
        return failed(ConfigError(wrong), Output(), "guide")
    # written, and not returned as the result of a run: `| head` needs only what it took
    sys.stdout.write("\n".join(_topics()) if topic is None else _page(topic))
    return None


def _topics() -> Iterator[str]:
    """Yield a line for each topic: its name and the first heading of its file."""
    width = max(map(len, _pages()))
    yield "Topics:"
    for topic, page in _pages().items():
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        yield f"  {topic:<{width}}  {title}"
    yield "\nShow one of them: pipecopy guide exit-codes\n"


def _page(topic: str) -> str:
    """Return the page: drawn on a terminal, else the Markdown as it is."""
    text = _pages()[topic].read_text(encoding="utf-8")
    if not sys.stdout.isatty():
        return text
    from rich.console import Console  # noqa: PLC0415 - heavy: for a terminal alone
    from rich.markdown import Markdown  # noqa: PLC0415 - as above
    from rich.theme import Theme  # noqa: PLC0415 - as above

    # no background: it would be black on a light terminal
    console = Console(file=sys.stdout, theme=Theme({"markdown.code": "bold cyan"}))
    if console.is_dumb_terminal:
        return text
    with console.capture() as drawn:
        console.print(Markdown(text, code_theme="ansi_dark"), width=min(console.width, WIDEST))
    return drawn.get()
