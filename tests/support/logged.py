"""What `--log-format json` writes, seen to follow the schema of the manual."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pipecopy.observers.log import FIELDS

_KINDS: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "number": (int, float)}


def parsed(text: str) -> list[dict[str, Any]]:
    """Return the objects; each line has to be one, with these fields alone."""
    assert text.endswith("\n") or not text
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line) == [field.name for field in FIELDS]
        for field in FIELDS:
            value = line[field.name]
            if value is None:
                assert not field.always, line
            else:
                assert type(value) in _KINDS[field.kind], (field, line)
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
        assert line["level"] in {"DEBUG", "INFO", "WARNING", "ERROR"}
    return lines
