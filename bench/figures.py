"""What is asked of the figures, as the JSON file holds them."""

from __future__ import annotations

from statistics import median
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]


def rows_per_second(result: Figures) -> float | None:
    """Return the median throughput; None where it did not take part."""
    return result["rows"] / median(result["seconds"]) if result["seconds"] else None


def throughput(contenders: Figures, name: str) -> float | None:
    """Return a contender's, None where there is none."""
    return rows_per_second(contenders[name]) if name in contenders else None


def ratio(contenders: Figures, name: str, to: str) -> float | None:
    """Return the one's throughput as a share of the other's."""
    one, other = throughput(contenders, name), throughput(contenders, to)
    return one / other if one and other else None


def fastest_peer(contenders: Figures) -> str | None:
    """Return the name of the fastest one that was measured."""
    peers = {
        name: speed
        for name, result in contenders.items()
        if result["kind"] == "peer" and (speed := rows_per_second(result))
    }
    return max(peers, key=lambda name: peers[name]) if peers else None
