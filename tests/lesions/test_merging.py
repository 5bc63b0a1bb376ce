"""Several people's annotation files of one scan: what becomes one lesion, and what they differ on."""

from dataclasses import replace
from pathlib import Path

import pytest

from napari_uld.errors import AnnotationError, AnnotationFileError
from napari_uld.lesions.annotation_file import AnnotationFile, save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State
from napari_uld.lesions.merging import Conflict, files_by_scan, merge
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle

BASE = Annotation(id="x", scan_id="s", key_slice=5, box=(10.0, 10.0, 30.0, 30.0), source=Source.MINED, parent_id="f1")
ACROSS = Recist(((15.0, 20.0), (25.0, 20.0)), ((20.0, 15.0), (20.0, 25.0)))
MASK = Rle((2, 2), (1, 3))


def file(name: str, *rows: Annotation, scan_id: str = "s") -> AnnotationFile:
    signed = [replace(row, reviewer=row.reviewer or name, scan_id=scan_id) for row in rows]
    return AnnotationFile(Path(f"{name}.json"), Annotations(scan_id, signed), "scan", "scan.nii", "")


def told(conflicts: list[Conflict]) -> list[tuple[str, list[str]]]:
    return [(conflict.about, list(conflict.views.values())) for conflict in conflicts]


def test_lesions_of_one_person_alone_are_kept_as_they_are() -> None:
    far = replace(BASE, id="y", parent_id=None, box=(100.0, 10.0, 130.0, 30.0))
    merged, conflicts = merge([file("ann", BASE), file("bob", far)])
    assert [(row.id, row.state, row.reviewer, row.comment) for row in merged] == [
        ("x", State.ACCEPTED, "ann", ""),
        ("y", State.ACCEPTED, "bob", ""),
    ]
    assert conflicts == []


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, parent_id="f2", key_slice=9),
        replace(BASE, id="y", key_slice=9),
        replace(BASE, id="y", parent_id=None, box=(14.0, 10.0, 34.0, 30.0)),
    ],
    ids=["same id", "same finding", "overlap"],
)
def test_one_lesion_of_two_files_is_one(other: Annotation) -> None:
    merged, _ = merge([file("ann", BASE), file("bob", other)])
    assert [row.id for row in merged] == ["x"]


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, id="y", parent_id=None, key_slice=6),
        replace(BASE, id="y", parent_id=None, box=(24.0, 10.0, 44.0, 30.0)),
    ],
    ids=["another slice", "too little overlap"],
)
def test_two_lesions_of_two_files_stay_two(other: Annotation) -> None:
    merged, conflicts = merge([file("ann", BASE), file("bob", other)])
    assert len(merged) == 2
    assert conflicts == []


def test_what_one_person_calls_two_lesions_stays_two_and_the_nearer_one_is_joined() -> None:
    near = replace(BASE, id="near", parent_id=None, box=(11.0, 10.0, 31.0, 30.0))
    less = replace(BASE, id="less", parent_id=None, box=(16.0, 10.0, 36.0, 30.0))
    merged, conflicts = merge([file("ann", BASE), file("bob", less, near)])
    assert [row.id for row in merged] == ["x", "less"]
    assert told(conflicts) == [("box", ["10 10 30 30", "11 10 31 30"])]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": State.REJECTED}, ("state", ["accepted", "rejected"])),
        ({"box": (12.0, 10.0, 30.0, 30.0)}, ("box", ["10 10 30 30", "12 10 30 30"])),
        ({"key_slice": 6}, ("slice", ["5", "6"])),
        ({"lesion_type": LesionType.LIVER}, ("type", ["lung", "liver"])),
        ({"noisy": True}, ("noisy", ["not noisy", "noisy"])),
        ({"mask": Rle((2, 2), (2, 2))}, ("mask", ["as painted", "as painted"])),
    ],
)
def test_what_people_differ_on_is_listed_and_waits_with_both_views_in_its_comment(
    changes: dict[str, object], expected: tuple[str, list[str]]
) -> None:
    mine = replace(BASE, lesion_type=LesionType.LUNG, source=Source.EDITED, mask=MASK, comment="seen before")
    merged, conflicts = merge([file("ann", mine), file("bob", replace(mine, **changes))])  # type: ignore[arg-type]
    assert told(conflicts) == [expected]
    assert list(conflicts[0].views) == ["ann in ann.json", "bob in bob.json"]
    (row,) = merged
    assert row.state is State.PENDING
    about, (one, other) = expected
    assert row.comment == f"seen before; {about}: ann in ann.json {one}, bob in bob.json {other}"


def test_two_views_of_one_reviewer_are_told_apart_by_file() -> None:
    rejected = replace(BASE, state=State.REJECTED, reviewer="ann")
    _, (conflict,) = merge([file("a", replace(BASE, reviewer="ann")), file("b", rejected)])
    assert conflict.views == {"ann in a.json": "accepted", "ann in b.json": "rejected"}


def test_saying_nothing_is_no_other_view_and_what_somebody_says_is_taken() -> None:
    says = replace(BASE, lesion_type=LesionType.LUNG, recist=ACROSS, source=Source.EDITED, box=(10.2, 10.0, 30.0, 30.0))
    merged, conflicts = merge([file("ann", replace(BASE, state=State.PENDING, mask=MASK)), file("bob", says)])
    assert conflicts == []
    (row,) = merged
    assert (row.state, row.lesion_type, row.recist) == (State.ACCEPTED, LesionType.LUNG, ACROSS)
    # The machine's mask is not a person's, who drew this box.
    assert (row.source, row.box, row.mask) == (Source.EDITED, says.box, None)


def test_one_persons_mask_and_anothers_diameters_are_both_kept() -> None:
    painted = replace(BASE, source=Source.EDITED, mask=MASK)
    (row,), conflicts = merge([file("ann", painted), file("bob", replace(BASE, source=Source.EDITED, recist=ACROSS))])
    assert (row.mask, row.recist, conflicts) == (MASK, ACROSS, [])


def test_of_three_people_all_views_are_told() -> None:
    _, conflicts = merge([file(name, replace(BASE, state=state)) for name, state in zip("abc", State, strict=True)])
    assert told(conflicts) == [("state", ["accepted", "rejected"])], "the pending one has no view"


def test_files_of_different_scans_are_refused() -> None:
    with pytest.raises(AnnotationError, match="give files of one scan, or folders"):
        merge([file("ann", BASE), file("bob", BASE, scan_id="t")])


def test_files_in_folders_are_put_together_by_scan_wherever_they_lie(tmp_path: Path) -> None:
    for place, scan_id in (("a/one/x.lesions.json", "1"), ("a/y.lesions.json", "2"), ("b/x.lesions.json", "1")):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        save_annotations(tmp_path / place, Annotations(scan_id), scan_name=scan_id, scan_source="")
    scans = files_by_scan([tmp_path / "a", tmp_path / "b"])
    assert {str(place): len(files) for place, files in scans.items()} == {"one/x.lesions.json": 2, "y.lesions.json": 1}
    with pytest.raises(AnnotationError, match="or folders"):
        files_by_scan([tmp_path / "a" / "y.lesions.json", tmp_path / "b" / "x.lesions.json"])
    (tmp_path / "c").mkdir()
    with pytest.raises(AnnotationFileError, match="no annotation file"):
        files_by_scan([tmp_path / "c"])


def test_two_scans_at_one_place_are_refused_before_one_takes_the_others_file(tmp_path: Path) -> None:
    for place, scan_id in (("a/ct.lesions.json", "1"), ("b/ct.lesions.json", "2")):
        (tmp_path / place).parent.mkdir()
        save_annotations(tmp_path / place, Annotations(scan_id), scan_name="ct", scan_source="ct.nii")
    with pytest.raises(AnnotationFileError, match=r"are of two scans and would both be ct\.lesions\.json"):
        files_by_scan([tmp_path / "a", tmp_path / "b"])
