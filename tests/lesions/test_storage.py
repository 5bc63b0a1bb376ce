"""Saving under faults: a process that dies at any moment leaves a readable file."""

import contextlib
import os
import random
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_uld.errors import AnnotationFileError, FileChangedError, FileLockedError
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import read_annotations, save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork to kill a process in mid-save")
# Everything by which a save touches the disk.
CALLS = ("open", "write", "fsync", "link", "unlink", "replace", "close", "ftruncate")


def table(count: int) -> Annotations:
    return Annotations("scan", [Annotation(f"lesion:{i}", "scan", i, (1.0, 2.0, 3.0, 4.0)) for i in range(count)])


def save(path: Path, count: int) -> str:
    return save_annotations(path, table(count), scan_name="case", scan_source="case.nii")


def child(work: Callable[[], object]) -> int:
    """Run `work` in a copy of this process that never returns here; give its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:  # noqa: BLE001  the copy must not run on into the test session
        os._exit(1)
    os._exit(0)


def die_at(call: int, torn: bool) -> Callable[[], int]:
    """Make the process die just before its `call`-th touch of the disk; give how many there were."""
    count = 0

    def wrap(original: Callable[..., object]) -> Callable[..., object]:
        def touched(*args: object, **kwargs: object) -> object:
            nonlocal count
            count += 1
            if count == call:
                if torn and original is real_write:  # half of the bytes reach the disk
                    data = bytes(args[1])  # type: ignore[arg-type]
                    original(args[0], data[: len(data) // 2])
                os._exit(9)
            return original(*args, **kwargs)

        return touched

    real_write = os.write
    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))
    return lambda: count


def calls_of_a_save(path: Path) -> int:
    """Count how often a whole save touches the disk."""
    receiver, sender = os.pipe()
    report = os.write

    def work() -> None:
        counted = die_at(-1, torn=False)
        save(path, 3)
        report(sender, str(counted()).encode())

    os.waitpid(child(work), 0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        return int(pipe.read())


@needs_fork
@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("torn", [True, False])
def test_a_process_killed_at_any_touch_of_the_disk_leaves_the_old_or_the_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool, hard_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    if not hard_links:
        monkeypatch.setattr(os, "link", refuse)
    counted = tmp_path / "counted.lesions.json"
    save(counted, 1)
    save(counted, 2)
    calls = calls_of_a_save(counted)
    assert calls > 8  # at least: open, write, fsync, link, replace, replace, open and fsync of the folder
    seen = set()
    for call in range(1, calls + 2):
        path = tmp_path / f"{call}.lesions.json"
        save(path, 1)
        save(path, 2)
        pid = child(lambda call=call, path=path: (die_at(call, torn), save(path, 3)))  # type: ignore[misc]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (9 if call <= calls else 0)
        found = read_annotations(path)
        assert found.recovered_from is None
        assert len(found.annotations) in (2, 3)
        seen.add(len(found.annotations))
        # The next save goes through, over whatever the killed one left, and leaves no litter.
        save(path, 4)
        assert len(read_annotations(path).annotations) == 4
        assert len(read_annotations_of_backup(path)) == len(found.annotations)
        assert sorted(p.name for p in tmp_path.glob(f"*{call}.lesions*") if p.name.startswith(".")) == []
    assert seen == {2, 3}


@needs_fork
def test_a_process_killed_while_it_replaces_a_damaged_file_leaves_the_backup_readable(tmp_path: Path) -> None:
    call, code = 0, 9
    while code == 9:
        call += 1
        path = tmp_path / f"{call}.lesions.json"
        save(path, 1)
        save(path, 2)
        path.write_bytes(path.read_bytes()[:100])
        pid = child(lambda call=call, path=path: (die_at(call, torn=True), save(path, 3)))  # type: ignore[misc]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = read_annotations(path)
        assert len(found.annotations) == (1 if found.recovered_from else 3)
    assert code == 0
    assert call > 8


def read_annotations_of_backup(path: Path) -> Annotations:
    copy = path.with_name("copy.lesions.json")
    copy.write_bytes(storage.backup_path(path).read_bytes())
    return read_annotations(copy).annotations


@needs_fork
def test_a_process_killed_at_fifty_moments_of_continuous_saving_leaves_a_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "case.lesions.json"
    save(path, 1)
    generator = random.Random(0)

    receiver, sender = os.pipe()

    def forever(count: int) -> None:
        while True:
            count += 1
            save(path, count % 60)
            os.write(sender, b"x")

    for _ in range(50):
        before = len(read_annotations(path).annotations)
        pid = child(lambda before=before: forever(before))  # type: ignore[misc]
        assert os.read(receiver, 1) == b"x"  # it is saving by now
        time.sleep(0.03 * generator.random())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = read_annotations(path)
        assert found.recovered_from is None
        assert len(found.annotations) != before
        read_annotations_of_backup(path)
        os.set_blocking(receiver, False)
        with contextlib.suppress(BlockingIOError):
            os.read(receiver, 4096)
        os.set_blocking(receiver, True)


def test_the_version_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f"
    storage.save(path, b"one")
    assert not storage.backup_path(path).exists()
    storage.save(path, b"two")
    storage.save(path, b"three")
    assert path.read_bytes() == b"three"
    assert storage.backup_path(path).read_bytes() == b"two"
    assert {p.name for p in tmp_path.iterdir()} <= {"f", "f.bak", "f.lock"}


def test_a_damaged_file_never_becomes_the_backup(tmp_path: Path) -> None:
    path = tmp_path / "f"
    storage.save(path, b"one")
    storage.save(path, b"two")
    path.write_bytes(b"dam")
    storage.save(path, b"three", readable=lambda data: data != b"dam")
    assert storage.backup_path(path).read_bytes() == b"one"
    assert storage.damaged_path(path).read_bytes() == b"dam"


def test_a_file_that_changed_since_it_was_read_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "f"
    mine = storage.save(path, b"one", read_fingerprint=storage.ABSENT)
    assert mine == storage.fingerprint(path)
    storage.save(path, b"someone else's")
    with pytest.raises(FileChangedError, match="changed on disk"):
        storage.save(path, b"two", read_fingerprint=mine)
    with pytest.raises(FileChangedError):
        storage.save(path, b"two", read_fingerprint=storage.ABSENT)
    assert path.read_bytes() == b"someone else's"


def test_a_file_that_vanished_since_it_was_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f"
    mine = storage.save(path, b"one")
    path.unlink()
    with pytest.raises(FileChangedError):
        storage.save(path, b"two", read_fingerprint=mine)


def test_a_lock_that_another_program_holds_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "f"
    storage.save(path, b"one")
    with storage.locked(path), pytest.raises(FileLockedError, match=r"holds f\.lock.*save again"):
        storage.save(path, b"two", timeout=0.05)
    assert path.read_bytes() == b"one"
    storage.save(path, b"two", timeout=0.05)


@needs_fork
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "f"
    receiver, sender = os.pipe()

    def hold() -> None:
        with storage.locked(path):
            os.write(sender, b"x")
            time.sleep(60)

    pid = child(hold)
    assert os.read(receiver, 1) == b"x"
    with pytest.raises(FileLockedError):
        storage.save(path, b"two", timeout=0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    storage.save(path, b"two", timeout=0.5)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_version_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "f"
    storage.save(path, b"one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(AnnotationFileError, match="No space left on device"):
            storage.save(path, b"two")
    assert path.read_bytes() == b"one"
    assert {p.name for p in tmp_path.iterdir()} <= {"f", "f.lock"}


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    storage.save(tmp_path / "f", b"0123456789")
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AnnotationFileError, match="Cannot save"):
        storage.save(tmp_path / "missing" / "f", b"one")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_and_links_survive_a_save(tmp_path: Path) -> None:
    path, link = tmp_path / "f", tmp_path / "link"
    storage.save(path, b"one")
    path.chmod(0o640)
    link.symlink_to(path)
    storage.save(link, b"two")
    assert link.is_symlink()
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
