"""Files that are replaced whole or not at all."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Replace the file at `path` in one step by what `write` writes; a crash at any moment leaves one of both.

    Parameters
    ----------
    write
        Writes a whole file at the path that it is given, in the same folder. Where it or what follows fails, that
        file is removed and `path` stays as it was.

    Raises
    ------
    OSError
        If the new file cannot be written, flushed or given its name.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        write(partial)
        _flush(partial, os.O_RDWR)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can: shares and Windows refuse, and the files are there."""
    with contextlib.suppress(OSError):
        _flush(folder, os.O_RDONLY)


def _flush(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
