"""`python -m bench.render FILE`: put the figures of a JSON file into bench/README.md.

What stands between the two marks there is replaced by the tables, and the picture is drawn anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figures
from bench.picture import PICTURE, draw
from bench.tables import Table, tables

_HERE = Path(__file__).parent
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.render", description=__doc__)
    parser.add_argument("file", type=Path, help="the JSON file that `python -m bench` wrote")
    parser.add_argument("--readme", type=Path, default=_HERE / "README.md", help="what is changed")
    options = parser.parse_args()
    figures: Figures = json.loads(options.file.read_text())
    picture: Path = options.readme.with_name(PICTURE)
    draw(figures, picture)
    before, _, rest = options.readme.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise SystemExit(f"{options.readme.name} has no place for figures")
    body = "\n".join(_markdown(figures, picture.name))
    options.readme.write_text(f"{before}{_BEGIN}{body}{_END}{after}")


def _markdown(figures: Figures, picture: str) -> Iterator[str]:
    yield ""
    if figures["quick"]:
        yield "**Of a quick run, for trying out: these figures say little.**\n"
    yield f"![Throughput as a share of the binary pipe's]({picture})\n"
    for table in tables(figures):
        yield f"### {table.title}\n"
        yield from _rows(table)
        yield f"\n{table.note}\n" if table.note else ""


def _rows(table: Table) -> Iterator[str]:
    yield _line(table.columns)
    numbers = "---" if table.text else "---:"
    yield _line(("---", *(numbers for _ in table.columns[1:])))
    for row in table.rows:
        yield _line(tuple(cell.replace("|", "\\|") for cell in row))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
