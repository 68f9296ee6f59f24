"""Imports run one way, and each driver or pool library has one place that knows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipecopy

ROOT = Path(pipecopy.__file__).parent

# From the top down: a file imports from its own folder, or from a layer below.
LAYERS = [
    {"__main__", "demo"},
    {"cli"},
    {""},
    {"operations"},
    {"supervisor", "observers", "engines"},
    {"workers", "postgres"},
    {"events", "units"},
    {"config"},
    {"sharded"},
    {"report"},
    {"contracts"},
    {"errors"},
    {"redact", "finding", "shard", "version"},
    {"arguments"},
]
ONLY_IN: dict[str, str | tuple[str, ...]] = {
    "pebble": "workers",
    "multiprocess": "workers",
    "dill": "workers",
    "psycopg": "postgres",
    "cyclopts": "cli",
    "prometheus_client": "observers/metrics.py",
    "distributed": "engines/dask.py",
    "opentelemetry": ("observers/traces.py", "observers/otlp.py"),
}


def modules() -> Iterator[Path]:
    return ROOT.rglob("*.py")


def part_of(path: Path) -> str:
    """Return the file's or the folder's name below the package, "" for the package's own."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if name in parts)


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    for name in imported(path):
        package, _, rest = name.partition(".")
        if package == "pipecopy":
            target = rest.partition(".")[0]
            if not (ROOT / target).is_dir() and not (ROOT / f"{target}.py").exists():
                target = ""  # a name of the package itself
            assert part_of(path) == target or layer(part_of(path)) < layer(target), (
                f"{path.name} imports {name}, from its own layer or from above"
            )
        elif package in ONLY_IN:
            place = path.relative_to(ROOT).as_posix()
            assert place.startswith(ONLY_IN[package]), f"{place} imports {name}"


def test_every_folder_has_a_layer() -> None:
    assert {part_of(path) for path in modules()} == set().union(*LAYERS)
