"""The manual: its pages, the README among them, and what stands in their blocks of code.

`python -m tests.support.manual` writes anew what is generated: the tables of options, from the help
of the commands; in the README, the picture of the bar and the list of topics.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

import pipecopy
from pipecopy.cli.app import build_app
from pipecopy.observers.bar import Bar
from tests.observers.test_display import HALF, STARTED, metered

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


_MARKS = ("<!-- options -->\n", "<!-- end of options -->")
_PANEL = re.compile(r"^╭─ (.+?) ─*╮$")
_OPTION = re.compile(
    r"^│ (?P<name>--\S+)(?P<short> -\w)?(?P<value> \S+)? {2,}"
    r"(?P<help>.+?)(?: \[default: (?P<default>.+)\])? *│$"
)
_TABLES = ("copy", "check", "verify", "plan", "runs")
_WIDE = 1000
"""Characters: no text of the help is broken."""
_PICTURE = 76
"""Characters of the bar in the README."""


def with_options(page: str) -> str:
    """Return the page about options with the tables as the help of the commands has them."""
    before, rest = page.split(_MARKS[0])
    return f"{before}{_MARKS[0]}{_tables()}{_MARKS[1]}{rest.split(_MARKS[1])[1]}"


def commands() -> list[str]:
    """Return the names of all commands."""
    return [name for name in build_app({})[0] if not name.startswith("-")]


def options_of(command: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield each option that the help of the command shows, with its group."""
    console = Console(file=io.StringIO(), width=_WIDE)
    with console.capture() as shown:
        build_app({})[0].help_print([command], console=console)
    group = ""
    for line in shown.get().splitlines():
        if panel := _PANEL.match(line):
            group = panel[1]
        elif option := _OPTION.match(line):
            yield group, option


def _tables() -> str:
    groups: dict[str, dict[str, tuple[re.Match[str], list[str]]]] = {}
    for command in (*_TABLES, *(name for name in commands() if name not in _TABLES)):
        for group, option in options_of(command):
            title = group if command in _TABLES else f"`pipecopy {command}`"
            _, having = groups.setdefault(title, {}).setdefault(option["name"], (option, []))
            having.append(command)
    return "".join(
        f"## {title}\n\n| option | default | commands | meaning |\n| --- | --- | --- | --- |\n"
        + "".join(_row(option, having) for option, having in rows.values())
        + "\n"
        for title, rows in groups.items()
    )


def _row(option: re.Match[str], having: list[str]) -> str:
    name = f"{option['name']}{option['value'] or ''}"
    names = f"`{name}`" + (f", `{option['short'].strip()}`" if option["short"] else "")
    lacking = [command for command in _TABLES if command not in having]
    of = ", ".join(having)
    if not lacking:
        of = "all five"
    elif lacking in (["verify"], ["runs"]):  # the longer list is not told
        of = f"all but {lacking[0]}"
    meaning = option["help"].replace("|", "\\|")
    return f"| {names} | {option['default'] or ''} | {of} | {meaning} |\n"


def title(topic: str) -> str:
    """Return the first heading of the page."""
    return PAGES[topic].partition("\n")[0].removeprefix("# ")


def with_picture_and_topics(readme: str) -> str:
    """Return the README with the bar as it is drawn, and a row for each topic."""
    readme = re.sub(r"(?<=```text\n).*?(?=```)", _picture(), readme, count=1, flags=re.DOTALL)
    rows = "".join(f"| [{name}](pipecopy/guide/{name}.md) | {title(name)} |\n" for name in PAGES)
    return re.sub(r"(?<=\| --- \| --- \|\n).*?\n(?=\n)", rows, readme, count=1, flags=re.DOTALL)


def _picture() -> str:
    console = Console(file=io.StringIO(), width=_PICTURE, no_color=True, legacy_windows=False)
    with console.capture() as drawn:
        console.print(Bar(console, metered([(STARTED, 99.9), *HALF], 112.0)))
    return "".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines())


if __name__ == "__main__":  # writes what is generated
    _OPTIONS = FOLDER / "options.md"
    _OPTIONS.write_text(with_options(PAGES["options"]), encoding="utf-8")
    README.write_text(with_picture_and_topics(README.read_text(encoding="utf-8")), encoding="utf-8")
