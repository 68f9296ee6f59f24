"""Copies of a table into which transactions commit late."""
