"""Killable worker processes: the only place that imports pebble and multiprocess.

::

    supervisor ──fork server            has imported what the workers need; serves several runs
        │             ├── reader worker     the single worker of its own pebble.ProcessPool
        │             └── writer worker     likewise
        └── buffers                     memory files: a batch goes from reader to writer in one
"""
