"""Run a detector on a scan."""
