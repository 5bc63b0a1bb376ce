"""A study's series are those whose headers place them on one grid, and are phases as their names say."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.reading import find_scans
from napari_uld.ct.studies import in_order, of_study

from .conftest import SeriesWriter, positions_along_z

PHASES = ("portal venous", "arterial")


def names(entries: tuple[ScanEntry, ...] | list[ScanEntry]) -> list[str]:
    return [entry.name for entry in entries]


def entry(name: str, kind: str = "nifti") -> ScanEntry:
    return ScanEntry(name, kind, Path(name), 3)  # type: ignore[arg-type]


def test_series_are_the_phases_that_are_in_their_names() -> None:
    entries = [entry("CT Arterial 5mm"), entry("Portal venous 5mm"), entry("delayed")]
    assert names(in_order(entries, PHASES)) == ["Portal venous 5mm", "CT Arterial 5mm"]


@pytest.mark.parametrize(
    "series", [["Portal venous", "5mm"], ["portal venous arterial", "arterial"], ["arterial 1", "arterial 2", "portal"]]
)
def test_names_that_do_not_say_which_phase_is_which_give_no_order(series: list[str]) -> None:
    assert in_order([entry(name) for name in series], PHASES) == []


def test_deeplesions_series_are_in_the_order_of_their_numbers() -> None:
    entries = [entry(f"000001_01_0{number}", "deeplesion") for number in (3, 1, 2)]
    assert names(in_order(entries, PHASES)) == ["000001_01_01", "000001_01_02"]
    assert in_order([*entries[1:], entry("000002_01_03", "deeplesion")], PHASES) == []
    assert in_order(entries[:1], PHASES) == []


def of_dicom(write: SeriesWriter, folder: Path, **other: object) -> tuple[ScanEntry, ...]:
    """The study of a series called "a", beside which one called "b" differs by these tags, or positions."""
    shared = {"FrameOfReferenceUID": "1.9"}
    write(folder=folder / "a", **shared, SeriesDescription="a", SeriesInstanceUID="1.2.1")
    write(folder=folder / "b", **{**shared, "SeriesDescription": "b", "SeriesInstanceUID": "1.2.2", **other})
    scans = find_scans(folder)
    (own,) = [each for each in scans if each.name.startswith("a")]
    return of_study(own, scans)


def test_dicom_series_of_one_study_frame_and_grid_are_one_study(write_series: SeriesWriter, tmp_path: Path) -> None:
    places = positions_along_z(5) + 0.004
    assert len(of_dicom(write_series, tmp_path, positions=places[::-1])) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"StudyInstanceUID": "1.2.9"},
        {"FrameOfReferenceUID": "1.8"},
        {"PixelSpacing": [0.75, 0.6]},
        {"ImageOrientationPatient": [1.0, 0, 0, 0, -1, 0]},
        {"positions": positions_along_z(5) + 1},
        {"positions": positions_along_z(6)},
        {"positions": positions_along_z(5, 2.5)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_dicom_series_that_lie_elsewhere_are_not(
    write_series: SeriesWriter, tmp_path: Path, other: dict[str, object]
) -> None:
    assert len(of_dicom(write_series, tmp_path, **other)) == 1


def test_dicom_series_that_say_nothing_of_their_study_are_no_study(write_series: SeriesWriter, tmp_path: Path) -> None:
    for name, uid in (("a", "1.2.1"), ("b", "1.2.2")):
        write_series(folder=tmp_path / name, SeriesDescription=name, SeriesInstanceUID=uid, StudyInstanceUID=None)
    scans = find_scans(tmp_path)
    assert len(of_study(scans[0], scans)) == 1


def test_deeplesions_series_are_of_one_study_where_they_have_the_same_slices(tmp_path: Path) -> None:
    for name, numbers in (
        ("000001_01_01", (3, 4)),
        ("000001_01_02", (3, 4)),
        ("000001_01_03", (4, 5)),
        ("000002_01_01", (3, 4)),
    ):
        (tmp_path / "Images_png" / name).mkdir(parents=True)
        for number in numbers:
            image = np.full((8, 8), 32768, np.uint16)
            cv2.imwrite(str(tmp_path / "Images_png" / name / f"{number:03d}.png"), image)
    (own,) = find_scans(tmp_path / "Images_png" / "000001_01_02")
    assert names(of_study(own)) == ["000001_01_01", "000001_01_02"]
