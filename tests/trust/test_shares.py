"""A share refuses what a disk does: the save succeeds, and what cannot be promised is said."""

import errno
import fcntl
import json
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_uld.errors import AnnotationFileError, FileLockedError
from napari_uld.files import GuaranteeWarning, append_lines, replace_file
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import read_annotations, save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.review_log import append_log, log_path

REFUSALS = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def refusing(number: int, only: Callable[..., bool] = lambda *_: True) -> Callable[[Callable[..., Any]], Any]:
    """Make a function of the system fail with this error where `only` says so."""

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def refused(*args: Any, **kwargs: Any) -> Any:
            if only(*args):
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        return refused

    return wrap


def is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def table() -> Annotations:
    return Annotations("scan", [Annotation("lesion:1", "scan", 3, (10.0, 20.0, 30.0, 40.0))])


def review_twice(path: Path) -> None:
    """Save, decide, save again, as a review does; the second save needs the first one's fingerprint."""
    lesions = table()
    first = save_annotations(path, lesions, scan_name="case", scan_source="case.nii")
    after = lesions.set_state("lesion:1", State.REJECTED)
    append_log(log_path(path), [Edit("reject", None, after)], "Ann")
    save_annotations(path, lesions, scan_name="case", scan_source="case.nii", read_fingerprint=first)
    assert [row.state for row in read_annotations(path).annotations] == [State.REJECTED]
    assert json.loads(log_path(path).read_text())["action"] == "reject"


@pytest.mark.parametrize("number", [*REFUSALS, errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_flushed_keeps_every_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number, is_folder)(os.fsync))
    with pytest.warns(GuaranteeWarning, match=f"Files are saved in {tmp_path}.*the version before"):
        review_twice(tmp_path / "case.lesions.json")


@pytest.mark.parametrize("number", REFUSALS)
def test_a_file_that_cannot_be_flushed_is_saved_and_the_missing_guarantee_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(number)(os.fsync))
    with pytest.warns(GuaranteeWarning, match="power failure may lose"):
        review_twice(tmp_path / "case.lesions.json")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_flush_that_failed_is_no_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "f"
    storage.save(path, b"old")
    monkeypatch.setattr(os, "fsync", refusing(number, lambda d: not is_folder(d))(os.fsync))
    with pytest.raises(AnnotationFileError, match=os.strerror(number)):
        storage.save(path, b"new")
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(".*partial"))


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.ENOTSUP])
def test_a_file_that_cannot_be_chmodded_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for name in ("chmod", "fchmod", "lchmod"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, refusing(number)(getattr(os, name)))
    with pytest.warns(GuaranteeWarning, match="permissions cannot be kept"):
        review_twice(tmp_path / "case.lesions.json")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS])
def test_a_share_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(number)(fcntl.flock))
    review_twice(tmp_path / "case.lesions.json")


def test_that_there_are_no_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK)(fcntl.flock))
    with pytest.warns(GuaranteeWarning, match="no locks"):
        storage.save(tmp_path / "f", b"one")


def test_a_lock_that_cannot_be_given_back_takes_no_save_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO, lambda _, how: how & fcntl.LOCK_UN)(fcntl.flock))
    mine = storage.save(tmp_path / "f", b"one")
    assert mine == storage.fingerprint(tmp_path / "f")


def test_a_lock_held_by_another_still_refuses(tmp_path: Path) -> None:
    with storage.locked(tmp_path / "f"), pytest.raises(FileLockedError):
        storage.save(tmp_path / "f", b"one", timeout=0.05)


def test_a_colleague_may_take_the_lock_that_somebody_made(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        storage.save(tmp_path / "f", b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "f.lock").stat().st_mode & 0o060 == 0o060


@pytest.mark.parametrize("call", ["link", "symlink"])
def test_a_share_without_links_keeps_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, refusing(errno.EPERM)(getattr(os, call)))
    storage.save(tmp_path / "f", b"one")
    storage.save(tmp_path / "f", b"two")
    assert storage.backup_path(tmp_path / "f").read_bytes() == b"one"


def test_what_is_missing_is_told_once_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL, is_folder)(os.fsync))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for name in "abc":
            replace_file(tmp_path / name, lambda partial: partial.write_bytes(b"x"))
    assert len(told) == 1


@pytest.mark.parametrize(
    "before", [b"", b"whole\n", b"whole\ntorn", b"torn", b"x" * 200_000 + b"\ntorn" + b"y" * 70_000]
)
def test_a_log_gets_whole_lines_after_whole_lines(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(before)
    append_lines(path, b"new\n")
    assert path.read_bytes() == before[: before.rfind(b"\n") + 1] + b"new\n"


def test_a_log_on_a_full_disk_ends_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_lines(path, b"old\n")
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append_lines(path, b"new\n")
    assert path.read_bytes() == b"old\n"
