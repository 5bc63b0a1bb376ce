from pathlib import Path

import pytest

from napari_uld.errors import AnnotationFileError, FileLockedError
from napari_uld.lesions import storage
from napari_uld.lesions.annotations import Annotation, Annotations, Edit, State
from napari_uld.lesions.review_log import append_log, log_path, read_log

LESION = Annotation("lesion:1", "scan", 3, (1.0, 2.0, 3.0, 4.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return log_path(tmp_path / "case.lesions.json")


def test_the_log_lies_beside_the_annotations(tmp_path: Path) -> None:
    assert log_path(tmp_path / "case.lesions.json") == tmp_path / "case.lesions.log.jsonl"


def test_every_edit_undo_and_redo_is_logged_in_order(path: Path) -> None:
    table = Annotations("scan")
    table.on_change(lambda edit: append_log(path, [edit], "Ann"))
    table.add(LESION)
    rejected = table.set_state(LESION.id, State.REJECTED)
    table.undo()
    table.remove(LESION.id)
    entries = read_log(path)
    assert [(e.edit.action, e.edit.before, e.edit.after) for e in entries] == [
        ("add", None, LESION),
        ("reject", LESION, rejected),
        ("undo reject", rejected, LESION),
        ("remove", LESION, None),
    ]
    assert {e.reviewer for e in entries} == {"Ann"}
    assert all(e.time.endswith("+00:00") for e in entries)


def test_no_log_has_no_entries(path: Path) -> None:
    assert read_log(path) == []


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_last_line_is_passed_over_and_mended(path: Path, cut: int) -> None:
    append_log(path, [Edit("add", None, LESION), Edit("remove", LESION, None)], "Ann")
    path.write_bytes(path.read_bytes()[:-cut])
    assert [e.edit.action for e in read_log(path)] == ["add"]
    append_log(path, [Edit("undo add", LESION, None)], "Ann")
    assert [e.edit.action for e in read_log(path)] == ["add", "undo add"]


def test_a_damaged_line_in_the_middle_is_told_by_number(path: Path) -> None:
    append_log(path, [Edit("add", None, LESION)] * 3, "Ann")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"time": 1}\n' + lines[2])
    with pytest.raises(AnnotationFileError, match=r"log\.jsonl, line 2, field time: found 1"):
        read_log(path)


def test_what_was_logged_is_never_rewritten(path: Path) -> None:
    append_log(path, [Edit("add", None, LESION)], "Ann")
    before = path.read_bytes()
    append_log(path, [Edit("remove", LESION, None)], "Bea")
    assert path.read_bytes().startswith(before)


def test_a_locked_log_is_told(path: Path) -> None:
    with storage.locked(path), pytest.raises(FileLockedError):
        append_log(path, [Edit("add", None, LESION)], "Ann", timeout=0.05)
