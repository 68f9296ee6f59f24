"""Killable worker processes: the only place that imports pebble and multiprocess.

::

    supervisor ──fork server            one for each copy: has imported what the workers need
        │             ├── reader worker     the single worker of its own pebble.ProcessPool
        │             └── writer worker     likewise
        └── buffers                     memory files: a batch goes from reader to writer in one
"""

from pipecopy.workers.buffer import Buffer
from pipecopy.workers.forkserver import ForkServer
from pipecopy.workers.messages import Batch, Connected, Crashed, Outcome, Raised, Returned, Task
from pipecopy.workers.process import Setup
from pipecopy.workers.script import (
    in_importing_worker,
    leave_unguarded_script,
    modules_to_preload,
    pickle_pool,
)
from pipecopy.workers.worker import Worker

__all__ = [
    "Batch",
    "Buffer",
    "Connected",
    "Crashed",
    "ForkServer",
    "Outcome",
    "Raised",
    "Returned",
    "Setup",
    "Task",
    "Worker",
    "in_importing_worker",
    "leave_unguarded_script",
    "modules_to_preload",
    "pickle_pool",
]
