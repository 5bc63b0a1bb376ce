"""Files that survive a crash: replaced whole, under a lock, with the version before kept as a backup.

At every moment there is a complete file at the path: a new version is written and flushed to disk
under another name first, and takes the path's name in one step.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from napari_uld.errors import AnnotationFileError, FileChangedError, FileLockedError
from napari_uld.files import UNSUPPORTED, copy_mode, replace_file, warn_missing, write_all

LOCK_TIMEOUT = 5.0  # seconds
# The fingerprint of a file that is not there.
ABSENT = ""


def fingerprint(path: Path) -> str:
    """Give a hash of the file's bytes, or `ABSENT` where there is no file."""
    try:
        return fingerprint_of(path.read_bytes())
    except FileNotFoundError:
        return ABSENT


def fingerprint_of(data: bytes) -> str:
    """Give the fingerprint of a file with these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def backup_path(path: Path) -> Path:
    """Where the version before the last save is kept."""
    return path.with_name(path.name + ".bak")


def damaged_path(path: Path) -> Path:
    """Where a file that could not be read is kept when a new version takes its place."""
    return path.with_name(path.name + ".damaged")


@contextlib.contextmanager
def locked(path: Path, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold `<path>.lock`; the lock of a process that died is free. A share without locks is told, and written to.

    Raises
    ------
    FileLockedError
        If another program holds it for longer than `timeout` seconds.
    AnnotationFileError
        If the folder is missing or cannot be written to.
    """
    if not path.parent.is_dir():  # the lock would make it, out of a mistyped name
        raise AnnotationFileError(f"Cannot save {path}: there is no folder {path.parent}; make it, or choose another")
    # Whoever may write in the folder may take it, whoever made it.
    lock = filelock.FileLock(f"{path}.lock", mode=0o666)
    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout as error:
        raise FileLockedError(
            f"{path} is being saved by another program (it holds {path.name}.lock); "
            "close it there, or wait, and save again: nothing is lost here"
        ) from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise _unwritable(path, error) from error
        warn_missing(path.parent, "it has no locks: of two programs that save one file at one moment, one is lost")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # what was saved is saved
            lock.release()


def save(
    path: Path,
    data: bytes,
    *,
    read_fingerprint: str | None = None,
    readable: Callable[[bytes], bool] = lambda _: True,
    timeout: float = LOCK_TIMEOUT,
) -> str:
    """Replace the file at `path` by `data` and give its new fingerprint.

    Parameters
    ----------
    read_fingerprint
        What `fingerprint` gave when the file was read (`ABSENT`: there was none); None replaces
        whatever is there.
    readable
        Whether bytes make a good file. One that is none never becomes the backup: it is kept as
        ``.damaged``.
    timeout
        Seconds to wait for the lock.

    Raises
    ------
    FileLockedError
        If another program holds the lock.
    FileChangedError
        If the file changed since it was read.
    AnnotationFileError
        If it cannot be written.
    """
    path = Path(os.path.realpath(path))  # replace what a link points to, not the link
    with locked(path, timeout):
        try:
            if read_fingerprint is not None and fingerprint(path) != read_fingerprint:
                raise FileChangedError(
                    f"{path} changed on disk since it was read: another program or reviewer saved it. "
                    "Save under another name, or open it again and repeat the changes"
                )
            _replace(path, data, readable)
        except OSError as error:
            raise _unwritable(path, error) from error
    return fingerprint_of(data)


def _replace(path: Path, data: bytes, readable: Callable[[bytes], bool]) -> None:
    def write(partial: Path) -> None:
        # It is on the disk before the version before it becomes the backup.
        _write(partial, data)
        if path.exists():
            copy_mode(path, partial)
            _keep(path, backup_path(path) if readable(path.read_bytes()) else damaged_path(path))

    # The lock makes the partial file's fixed name safe; what a killed process left there is overwritten.
    replace_file(path, write)


def _keep(path: Path, kept: Path) -> None:
    """Give the file at `path` a second name without ever taking its first one away."""
    link = path.with_name(f".{path.name}.keep")
    link.unlink(missing_ok=True)
    try:
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            _write(link, path.read_bytes())
        os.replace(link, kept)
    finally:
        # Also where all went well: renaming one name of a file to another name of it does nothing.
        link.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        write_all(descriptor, data, path.parent)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> AnnotationFileError:
    return AnnotationFileError(
        f"Cannot save {path}: {error.strerror or error}; what was there before is untouched. "
        "Make room or choose a folder you may write to, and save again"
    )
