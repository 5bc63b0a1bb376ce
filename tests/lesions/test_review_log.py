import json
from pathlib import Path
from typing import Any

import pytest

from napari_uld.errors import FileLockedError
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import lesion_to_json
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.review_log import append_log, log_path

LESION = Annotation("lesion:1", "scan", 3, (1.0, 2.0, 3.0, 4.0))


def entries_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_json(lesion: Annotation) -> dict[str, Any]:
    return json.loads(json.dumps(lesion_to_json(lesion)))


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
    entries = entries_of(path)
    assert [(e["action"], e["before"], e["after"]) for e in entries] == [
        ("add", None, as_json(LESION)),
        ("reject", as_json(LESION), as_json(rejected)),
        ("undo reject", as_json(rejected), as_json(LESION)),
        ("remove", as_json(LESION), None),
    ]
    assert {e["scan_id"] for e in entries} == {"scan"}
    assert {e["reviewer"] for e in entries} == {"Ann"}
    assert all(e["time"].endswith("+00:00") for e in entries)


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_last_line_is_mended(path: Path, cut: int) -> None:
    append_log(path, [Edit("add", None, LESION), Edit("remove", LESION, None)], "Ann")
    path.write_bytes(path.read_bytes()[:-cut])
    append_log(path, [Edit("undo add", LESION, None)], "Ann")
    assert [e["action"] for e in entries_of(path)] == ["add", "undo add"]


def test_what_was_logged_is_never_rewritten(path: Path) -> None:
    append_log(path, [Edit("add", None, LESION)], "Ann")
    before = path.read_bytes()
    append_log(path, [Edit("remove", LESION, None)], "Bea")
    assert path.read_bytes().startswith(before)


def test_a_locked_log_is_told(path: Path) -> None:
    with storage.locked(path), pytest.raises(FileLockedError):
        append_log(path, [Edit("add", None, LESION)], "Ann", timeout=0.05)
