"""The demo: two servers of its own, a filled table, a copy, and what it survives."""
