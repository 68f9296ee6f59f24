"""pipecopy copies a big table from one database server to another, and always ends.

Every database call runs in a worker process that can be killed, is retried on timeouts alone,
and the whole copy keeps to one limit, whatever is stuck.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers take it for true; typing would have to be loaded for it
if TYPE_CHECKING:
    from typing import Any

    from pipecopy.config import Config
    from pipecopy.contracts import ConnectionPool, Database, Row
    from pipecopy.events import Observer
    from pipecopy.operations.check import check_copy
    from pipecopy.operations.copy import copy_table
    from pipecopy.operations.verify import verify_tables
    from pipecopy.report import CheckReport, CopyReport, VerifyReport

__all__ = [
    "CheckReport",
    "Config",
    "ConnectionPool",
    "CopyReport",
    "Database",
    "Observer",
    "Row",
    "VerifyReport",
    "check_copy",
    "copy_table",
    "verify_tables",
]

# Imported when they are first used: the command has to heed signals before all this is loaded.
_HOMES = {
    "CheckReport": "report",
    "Config": "config",
    "ConnectionPool": "contracts",
    "CopyReport": "report",
    "Database": "contracts",
    "Observer": "events",
    "Row": "contracts",
    "VerifyReport": "report",
    "check_copy": "operations.check",
    "copy_table": "operations.copy",
    "verify_tables": "operations.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
