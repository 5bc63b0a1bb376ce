"""Files that are replaced whole or not at all, and logs whose lines are whole or not there.

A share may refuse what a disk of one's own does: to flush, to lock, to keep permissions. The file is saved there all
the same, and a `GuaranteeWarning` says once a folder what cannot be promised.
"""

import contextlib
import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

# How a file system says that it has no such service; whatever else it says is a failure.
UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOTTY})
# How much of a log's end is looked through at once for the end of its last whole line.
_TAIL = 1 << 16


class GuaranteeWarning(UserWarning):
    """A file was saved, but its folder cannot give one of the guarantees that it should have."""


def warn_missing(folder: Path, missing: str) -> None:
    """Say, once a folder and guarantee, what a folder cannot promise of the files that are saved in it."""
    warnings.warn(f"Files are saved in {folder}, but {missing}", GuaranteeWarning, stacklevel=1)


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
        descriptor = os.open(partial, os.O_RDWR)
        try:
            flush(descriptor, path.parent)
        finally:
            os.close(descriptor)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            partial.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def append_lines(path: Path, lines: bytes) -> None:
    """Add whole lines to a log and flush them; a last line that a crash tore is removed first.

    Raises
    ------
    OSError
        If they cannot be written; the log then ends as it did before.
    """
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        end = _end_of_lines(descriptor)
        if end != os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        try:
            write_all(descriptor, lines, path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        flush_folder(path.parent)


def write_all(descriptor: int, data: bytes, folder: Path) -> None:
    """Write all of `data` and flush it to the disk; `folder` is where the file lies."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    flush(descriptor, folder)


def flush(descriptor: int, folder: Path) -> None:
    """Flush an open file of `folder` to the disk, where the file system can.

    Raises
    ------
    OSError
        If that failed; that there is no such service is told as a `GuaranteeWarning`.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_missing(folder, "it cannot flush them to its disk: a power failure may lose what was saved just before it")


def flush_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can: shares and Windows refuse, and the files are there."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if os.name != "nt":  # Windows never can, and has no need to
            warn_missing(
                folder,
                "it cannot flush its list of files to its disk: "
                "a power failure just after a save may bring back the version before it",
            )


def copy_mode(source: Path, target: Path) -> None:
    """Give a file the permissions of another one in its folder, where the file system has them."""
    try:
        shutil.copymode(source, target)
    except OSError:
        warn_missing(
            target.parent, "their permissions cannot be kept: a file that is saved again has those of a new one"
        )


def text_of(data: bytes) -> str:
    """Give a text file's text: UTF-8, or what its byte order mark says, without the mark.

    Raises
    ------
    UnicodeDecodeError
        If it is no such text.
    """
    return data.decode(json.detect_encoding(data)).removeprefix("\ufeff")


def _end_of_lines(descriptor: int) -> int:
    """Bytes up to the end of the last whole line: a line is written with its end or it is torn."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(end - _TAIL, 0)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
