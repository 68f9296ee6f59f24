"""What takes note of a run: it knows only events and reports, and can't touch the run."""
