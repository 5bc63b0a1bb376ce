"""The scan: a CT volume, its geometry, and how it is read from files."""
