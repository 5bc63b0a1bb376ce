"""What the log holds of actions of several edits, one of which a crash kept from it."""

import json
from pathlib import Path

import pytest

from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.recovery import Unsaved, unsaved_lesions
from napari_uld.lesions.review_log import append_log

LESIONS = tuple(Annotation(f"lesion:{n}", "scan", n, (1.0, 2.0, 3.0, 4.0)) for n in range(3))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a table in which all lesions became noisy as one action."""
    path, table = tmp_path / "x.lesions.log.jsonl", Annotations("scan", LESIONS)
    heard: list[Edit[Annotation]] = []
    table.on_change(heard.append)
    with table.as_one():
        for lesion in LESIONS:
            table.edit(lesion.id, noisy=True, comment="blurred")
    append_log(path, heard, "Ann")
    return path


def unsaved(log: Path) -> Unsaved:
    return unsaved_lesions([log], Annotations("scan", LESIONS), "")


def test_an_action_of_several_edits_comes_back_whole(log: Path) -> None:
    found = unsaved(log)
    assert list(found) == [lesion.id for lesion in LESIONS]
    assert all(after.noisy and after.comment == "blurred" for after in found.values())


@pytest.mark.parametrize("lines", [1, 2])
def test_an_action_that_was_torn_between_its_lines_does_not_come_back(log: Path, lines: int) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:lines]))
    assert unsaved(log) == {}
    # What is decided afterwards does.
    append_log(log, [Edit("remove", LESIONS[2], None)], "Ann")
    assert unsaved(log) == {"lesion:2": None}


def test_a_line_of_one_edit_alone_is_as_earlier_versions_wrote_it(log: Path) -> None:
    append_log(log, [Edit("remove", LESIONS[2], None)], "Ann")
    assert ["part" in json.loads(line) for line in log.read_bytes().splitlines()] == [True, True, True, False]
