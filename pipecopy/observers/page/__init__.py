"""What `--report` writes at the end of a command: a page with charts, or the same as JSON."""
