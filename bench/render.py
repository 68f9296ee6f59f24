"""`python -m bench.render FILE`: put the figures of a JSON file into bench/README.md.

What stands between the two marks there is replaced by the tables, and the picture is drawn again:
each contender's throughput as a share of the binary pipe's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figures, ratio
from bench.tables import Table, tables

PICTURE = "ratios.png"
"""The file's name."""

_COLOURS = {"limit": "#8c8c8c", "pipecopy": "#1f6feb", "floor": "#c9c9c9", "peer": "#e3873a"}
_KINDS = {
    "limit": "psql | psql",
    "pipecopy": "pipecopy",
    "floor": "COPY of ready-made batches",
    "peer": "other tools",
}
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


def draw(figures: Figures, file: Path) -> None:
    """Write the picture of the ratios, as a PNG.

    Raises:
        ImportError: matplotlib is not installed.

    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - the bench does without it
    from matplotlib.patches import Patch  # noqa: PLC0415 - the same

    data_sets = [each for each in figures.get("data_sets", {}).values() if _bars(each)]
    if not data_sets:
        return
    counts = [len(_bars(each)) for each in data_sets]
    picture = Figure(figsize=(9, 1.1 + 0.62 * len(counts) + 0.27 * sum(counts)), dpi=140)
    picture.set_layout_engine("constrained")
    panels = picture.subplots(len(counts), 1, squeeze=False, height_ratios=counts, sharex=True)
    for panel, data_set in zip(panels[:, 0], data_sets, strict=True):
        bars = _bars(data_set)
        titles, shares, kinds = zip(*bars, strict=True)
        drawn = panel.barh(titles, shares, color=[_COLOURS[kind] for kind in kinds], height=0.72)
        panel.bar_label(drawn, labels=[f"{share:.2f}" for share in shares], padding=3, fontsize=8)
        panel.axvline(1, color="#444444", linewidth=0.8, linestyle=":")
        panel.invert_yaxis()
        panel.set_title(f"{data_set['rows']:,} {data_set['title']}", fontsize=10, loc="left")
        panel.tick_params(axis="y", labelsize=8, length=0)
        panel.tick_params(axis="x", labelsize=8)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.margins(x=0.08, y=0.02)
    panels[-1, 0].set_xlabel("throughput, the binary pipe's = 1", fontsize=9)
    marks = [Patch(color=_COLOURS[kind]) for kind in _KINDS]
    picture.legend(
        marks, list(_KINDS.values()), loc="outside upper right", ncols=4, fontsize=8, frameon=False
    )
    picture.savefig(file, metadata={"Software": None})


def _bars(data_set: Figures) -> list[tuple[str, float, str]]:
    contenders = data_set["contenders"]
    return [
        (result["title"], share, result["kind"])
        for name, result in contenders.items()
        if (share := ratio(contenders, name, "pipe-binary")) is not None
    ]


if __name__ == "__main__":
    main()
