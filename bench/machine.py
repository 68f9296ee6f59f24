"""On what, and with what, the figures were made; nothing that names the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from bench.servers import Servers


def machine() -> dict[str, str]:
    """Return the machine, by what counts here."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "CPU": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {'.'.join(platform.release().split('.')[:2])}",
    }


def versions(servers: Servers) -> dict[str, str]:
    """Return the versions of all that takes part."""
    prod, stats = (
        str(server.query("SHOW server_version")[0][0]) for server in (servers.prod, servers.stats)
    )
    packages = ("pipecopy", "Pebble", "multiprocess", "psycopg", "sling-linux-amd64", "dlt")
    found = {
        "PostgreSQL": f"{prod} to {stats}, default settings",
        "Python": platform.python_version(),
        **{name: version for name in packages if (version := _package(name))},
    }
    for command in ("pgcopydb", "pgloader"):
        if version := _command(command):
            found[command] = version
    return found


def _package(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _command(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version\s+\"?([^\s\"]+)", output.stdout + output.stderr)
    return version[1] if version else "of an unknown version"
