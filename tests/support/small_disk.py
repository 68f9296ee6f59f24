"""A mounted file system of a few kilobytes, which is soon full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount one of that size, such as `512k`, on a folder. Skips the test if that can't be."""
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root alone")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "pipecopy-tests", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(folder)], check=True)
