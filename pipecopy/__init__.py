"""pipecopy copies a big table from one database server to another, and always ends.

Every database call runs in a worker process that can be killed, is retried on timeouts alone,
and the whole copy keeps to one limit, whatever is stuck.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # type checkers take it for true; typing would have to be loaded for it
if TYPE_CHECKING:
    from typing import Any

    from pipecopy.config import Config as Config
    from pipecopy.contracts import ConnectionPool as ConnectionPool
    from pipecopy.contracts import Database as Database
    from pipecopy.contracts import Row as Row
    from pipecopy.events import Observer as Observer
    from pipecopy.operations.check import check_copy as check_copy
    from pipecopy.operations.copy import copy_table as copy_table
    from pipecopy.operations.each import check_each as check_each
    from pipecopy.operations.each import verify_each as verify_each
    from pipecopy.operations.shards.by_hand import copy_shard as copy_shard
    from pipecopy.operations.shards.find import find_tables as find_tables
    from pipecopy.operations.shards.many import copy_shard_of_tables as copy_shard_of_tables
    from pipecopy.operations.shards.many import copy_tables as copy_tables
    from pipecopy.operations.shards.many import plan_tables as plan_tables
    from pipecopy.operations.shards.plan import TableCopy as TableCopy
    from pipecopy.operations.shards.runs import drop_run as drop_run
    from pipecopy.operations.shards.runs import runs_of as runs_of
    from pipecopy.operations.shards.sharded import copy_sharded as copy_sharded
    from pipecopy.operations.shards.sharded import plan_sharded as plan_sharded
    from pipecopy.operations.verify import verify_tables as verify_tables
    from pipecopy.report import CheckReport as CheckReport
    from pipecopy.report import CopyReport as CopyReport
    from pipecopy.report import VerifyReport as VerifyReport
    from pipecopy.sharded import CheckedTables as CheckedTables
    from pipecopy.sharded import PlanReport as PlanReport
    from pipecopy.sharded import RunsReport as RunsReport
    from pipecopy.sharded import ShardedReport as ShardedReport
    from pipecopy.sharded import TablesReport as TablesReport
    from pipecopy.sharded import VerifiedTables as VerifiedTables

# Imported when they are first used: the command has to heed signals before all this is loaded.
_MODULES = {
    "CheckReport": "report",
    "CheckedTables": "sharded",
    "Config": "config",
    "ConnectionPool": "contracts",
    "CopyReport": "report",
    "Database": "contracts",
    "Observer": "events",
    "PlanReport": "sharded",
    "Row": "contracts",
    "RunsReport": "sharded",
    "ShardedReport": "sharded",
    "TableCopy": "operations.shards.plan",
    "TablesReport": "sharded",
    "VerifiedTables": "sharded",
    "VerifyReport": "report",
    "check_copy": "operations.check",
    "check_each": "operations.each",
    "copy_shard": "operations.shards.by_hand",
    "copy_shard_of_tables": "operations.shards.many",
    "copy_sharded": "operations.shards.sharded",
    "copy_table": "operations.copy",
    "copy_tables": "operations.shards.many",
    "drop_run": "operations.shards.runs",
    "find_tables": "operations.shards.find",
    "plan_sharded": "operations.shards.sharded",
    "plan_tables": "operations.shards.many",
    "runs_of": "operations.shards.runs",
    "verify_each": "operations.each",
    "verify_tables": "operations.verify",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
