"""A picture of the ratios: each contender's throughput as a share of the binary pipe's."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.figures import Figures, ratio

PICTURE = "ratios.png"
"""The file's name."""

_COLOURS = {"limit": "#8c8c8c", "pipecopy": "#1f6feb", "floor": "#c9c9c9", "peer": "#e3873a"}
_KINDS = {
    "limit": "psql | psql",
    "pipecopy": "pipecopy",
    "floor": "COPY of ready-made batches",
    "peer": "other tools",
}


def draw(figures: Figures, file: Path) -> None:
    """Write it, as a PNG."""
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
