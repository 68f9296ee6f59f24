"""The demo: two servers of its own, a filled table, a copy, and what it survives.

`show` is the story; `servers` and `psql` are what it happens on, `hang` is what goes wrong.
"""
