"""A program run as a user who runs nothing else, and whose limits do not hold for root."""

from __future__ import annotations

import os
import shutil

import pytest

USER = 54321
AS_USER = (
    "setpriv",
    f"--reuid={USER}",
    "--clear-groups",
    # it may read all: the interpreter may be in root's home
    *(f"--{kind}=-all,+dac_override" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
)
"""What runs a program as that user."""
BECOMES_ANOTHER_USER = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("setpriv") is None,
    reason="to run a program as another user takes root, and setpriv",
)
