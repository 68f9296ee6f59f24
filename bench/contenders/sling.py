"""Sling: the wheel carries its binary."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench.commands import run_command
from bench.contenders.contender import Contender
from bench.servers import Databases


class Sling(Contender):
    """`sling run --mode truncate`: the target's table stays as it is.

    All its modes load into a table of their own first, and then into the target.
    """

    name = "sling"
    title = "Sling, mode truncate"
    kind = "peer"
    once = True

    @property
    def _binary(self) -> Path | None:
        spec = importlib.util.find_spec("sling_linux_amd64")
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0], "bin", "sling-linux-amd64")

    def missing(self) -> str | None:
        return None if self._binary else "no wheel sling-linux-amd64"

    def copy(self, databases: Databases) -> float:
        command = [
            *(str(self._binary), "run", "--mode", "truncate"),
            *("--src-conn", "PROD", "--src-stream", "public.profiles"),
            *("--tgt-conn", "STATS", "--tgt-object", "public.profiles"),
        ]
        env = {
            "PROD": f"{databases.source.uri}?sslmode=disable",
            "STATS": f"{databases.target.uri}?sslmode=disable",
            "SLING_DISABLE_TELEMETRY": "TRUE",
        }
        return run_command(command, env=env)[0]
