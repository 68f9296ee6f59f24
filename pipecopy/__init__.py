"""pipecopy copies a big table from one database server to another, and always ends.

Every database call runs in a worker process that can be killed, is retried on timeouts alone,
and the whole copy keeps to one limit, whatever is stuck.
"""

from pipecopy.config import Config
from pipecopy.contracts import ConnectionPool, Database, Row
from pipecopy.events import Observer
from pipecopy.report import CopyReport
from pipecopy.supervisor import copy_table

__all__ = [
    "Config",
    "ConnectionPool",
    "CopyReport",
    "Database",
    "Observer",
    "Row",
    "copy_table",
]
