"""`napari-uld …`, thin: parse, call, keep the result, print; a file a group of commands."""

from napari_uld.cli.app import main

__all__ = ["main"]
