"""Which files beside a scan, or in another folder, are its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.entries import ScanEntry
from napari_uld.lesions.annotation_file import save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.lesions.beside import FilesBeside, Mirror, findings_path, known_id
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings


def findings(scan_id: str, name: str) -> Findings:
    return Findings.from_rows(
        scan_id=scan_id,
        scan_name=name,
        method="m",
        checkpoint="c",
        boxes=[[0, 0, 9, 9]],
        scores=[0.5],
        key_slices=[1],
    )


def image(folder: Path, name: str = "ct") -> ScanEntry:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.nii.gz").touch()
    return ScanEntry(name, "nifti", folder / f"{name}.nii.gz", 3)


def test_ids_are_known_without_pixels_where_headers_or_names_tell_them(tmp_path: Path) -> None:
    assert known_id(ScanEntry("x", "deeplesion", tmp_path / "000001_01_01", 3)) == "deeplesion:000001_01_01"
    assert known_id(ScanEntry("x", "deeplesion", tmp_path / "slices", 3)) == ""
    assert known_id(ScanEntry("x", "dicom", tmp_path, 3, series_uid="1.2", label="acquisition 2")) == (
        "1.2 acquisition 2"
    )
    assert known_id(image(tmp_path)) == ""


def test_a_mirror_has_the_folders_of_the_data_over_again(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "data", tmp_path / "out")
    assert mirror.place(tmp_path / "data" / "a" / "x.json") == tmp_path / "out" / "a" / "x.json"
    assert mirror.place(tmp_path / "data.lesions.json") == tmp_path / "out" / "data.lesions.json"


def test_scans_of_one_name_in_two_folders_have_each_their_own_in_a_mirror(tmp_path: Path) -> None:
    one, two = image(tmp_path / "data" / "a"), image(tmp_path / "data" / "b")
    mirror = Mirror(tmp_path / "data", tmp_path / "out")
    for entry, scan_id in ((one, "sha256:1"), (two, "sha256:2")):
        path = mirror.place(findings_path(entry.path, scan_id, "m c"))
        path.parent.mkdir(parents=True)
        write_findings(path, findings(scan_id, "ct"))
    beside = FilesBeside(mirror)
    assert [[f.scan_id for f in beside.findings(entry).values()] for entry in (one, two)] == [
        ["sha256:1"],
        ["sha256:2"],
    ]
    assert FilesBeside().findings(one) == {}


def test_annotations_in_a_mirror_are_found_and_come_before_those_beside_the_scan(tmp_path: Path) -> None:
    entry = image(tmp_path / "data")
    mirror = Mirror(tmp_path / "data", tmp_path / "out")
    (tmp_path / "out").mkdir()
    for place, name in ((tmp_path / "data", "here"), (tmp_path / "out", "there")):
        row = Annotation(id=name, scan_id="s", key_slice=1, box=(0.0, 0.0, 9.0, 9.0))
        path = place / "ct.lesions.json"
        save_annotations(path, Annotations("s", [row]), scan_name="ct", scan_source="ct.nii.gz")
        annotations = FilesBeside(mirror).annotations(entry)
        assert annotations is not None
        assert [lesion.id for lesion in annotations] == [name]


@pytest.mark.parametrize("scan_id", ["deeplesion:000001_01_01", "deeplesion:000002_01_01"])
def test_mined_negatives_in_one_folder_are_found_by_the_scans_name_and_id(tmp_path: Path, scan_id: str) -> None:
    series = tmp_path / "data" / "Images_png" / "000001_01_01"
    series.mkdir(parents=True)
    mined = tmp_path / "epoch_3"
    mined.mkdir()
    found = replace(findings(scan_id, "000001_01_01"), negative=np.array([True]))
    write_findings(mined / "000001_01_01.findings.json", found)
    beside = FilesBeside(Mirror(tmp_path / "data", mined))
    paths = list(beside.findings(ScanEntry("000001_01_01", "deeplesion", series, 3)))
    assert paths == ([mined / "000001_01_01.findings.json"] if scan_id.endswith("000001_01_01") else [])
