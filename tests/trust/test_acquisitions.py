"""What tells acquisitions apart: each is offered as a scan of its own, and what is one scan stays one."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import AmbiguousScanError, DuplicateSlicesError, MissingSlicesError

from .dicom_series import body, save, setting, write

FIRST, SECOND = body(), body(insert=200)
APART = {
    "acquisition": (setting(AcquisitionNumber=1), setting(AcquisitionNumber=2)),
    "time": (setting(AcquisitionTime="100005"), setting(AcquisitionTime="100110.5")),
    "contrast": (None, setting(ContrastBolusAgent="Iomeprol")),
    "image type": (None, setting(ImageType=["DERIVED", "SECONDARY", "AXIAL"])),
    "kernel": (setting(ConvolutionKernel="B30f"), setting(ConvolutionKernel="B70f")),
    "times of every slice": (
        setting(AcquisitionTime=lambda i: f"1000{i:02d}", InstanceNumber=lambda i: 2 * i + 1),
        setting(AcquisitionTime=lambda i: f"1005{i:02d}", InstanceNumber=lambda i: 2 * i + 2),
    ),
    "acquisition of every slice": (
        setting(AcquisitionNumber=lambda i: i + 1),
        setting(AcquisitionNumber=lambda i: i + 13),
    ),
    "numbers alone": (None, None),
    "two patients": (setting(PatientID="A"), setting(PatientID="B")),
}


@pytest.mark.parametrize("shift", [0.0, -2.5], ids=["coincide", "interleave"])
@pytest.mark.parametrize("changes", APART.values(), ids=APART)
def test_two_acquisitions_under_one_uid_are_both_offered(tmp_path: Path, changes: tuple, shift: float) -> None:
    write(tmp_path, FIRST, change=changes[0])
    write(tmp_path, SECOND, along=[shift - 5.0 * i for i in range(12)], start=101, change=changes[1])
    found = find_scans(tmp_path)
    assert len(found) == 2
    assert len({entry.name for entry in found}) == 2
    volumes = [read_scan(tmp_path, entry.name) for entry in found]
    read = {volume.hu[::-1].tobytes() for volume in volumes}
    assert read == {FIRST.tobytes(), SECOND.tobytes()}
    assert len({volume.scan_id for volume in volumes}) == 2


def test_the_names_say_which_is_which(tmp_path: Path) -> None:
    write(tmp_path, FIRST, change=setting(ContrastBolusAgent="Iomeprol"))
    write(tmp_path, SECOND, start=101)
    assert [entry.name for entry in find_scans(tmp_path)] == ["Abdomen, contrast Iomeprol", "Abdomen, contrast none"]
    with pytest.raises(AmbiguousScanError, match="contrast Iomeprol"):
        read_scan(tmp_path)


def test_a_file_brings_its_own_acquisition(tmp_path: Path) -> None:
    write(tmp_path, FIRST, change=setting(AcquisitionTime="100005"))
    files = write(tmp_path, SECOND, start=101, change=setting(AcquisitionTime="100110"))
    volume = read_scan(files[3])
    assert volume.name == "Abdomen, taken 10:01:10"
    assert volume.slice_numbers.min() == 101


def test_three_phases_in_two_kernels_are_six_scans(tmp_path: Path) -> None:
    for phase in range(3):
        for k, kernel in enumerate(("B30f", "B70f")):
            tags = setting(AcquisitionNumber=phase, ConvolutionKernel=kernel)
            write(tmp_path, body(6, insert=50 * phase + k), start=1 + 20 * (2 * phase + k), change=tags)
    assert [entry.slices for entry in find_scans(tmp_path)] == [6] * 6


def test_folders_tell_two_patients_under_one_uid_apart(tmp_path: Path) -> None:
    write(tmp_path / "anna", FIRST)
    write(tmp_path / "berta", SECOND)
    assert [entry.name for entry in find_scans(tmp_path)] == ["Abdomen, folder anna", "Abdomen, folder berta"]
    np.testing.assert_array_equal(read_scan(tmp_path, "Abdomen, folder berta").hu[::-1], SECOND)


def test_file_names_tell_phases_apart_that_nothing_else_does(tmp_path: Path) -> None:
    write(tmp_path, FIRST, prefix="arterial")
    write(tmp_path, SECOND, prefix="portal")
    assert len(find_scans(tmp_path)) == 2


def test_an_acquisition_with_a_gap_does_not_hide_the_whole_one(tmp_path: Path) -> None:
    write(tmp_path, FIRST, change=setting(AcquisitionNumber=1))
    write(tmp_path, SECOND, start=101, change=setting(AcquisitionNumber=2))[5].unlink()
    whole, with_gap = (entry.name for entry in find_scans(tmp_path))
    assert read_scan(tmp_path, whole).shape[0] == 12
    with pytest.raises(MissingSlicesError):
        read_scan(tmp_path, with_gap)


def test_a_second_plane_under_one_uid_is_a_scan_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    coronal = setting(
        ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImagePositionPatient=lambda i: [-10.0, -10.0 + 2 * i, 0.0]
    )
    write(tmp_path, SECOND, start=101, change=coronal)
    assert [entry.name for entry in find_scans(tmp_path)] == ["Abdomen, axial", "Abdomen, coronal"]


ONE_SCAN = {
    "an acquisition number that rises with every slice": setting(AcquisitionNumber=lambda i: i + 1),
    "a time that rises with every slice": setting(AcquisitionTime=lambda i: f"1000{i:02d}", ContentTime="100100"),
    "acquisitions of four slices one after the other": setting(AcquisitionNumber=lambda i: i // 4),
    "times of four slices one after the other": setting(AcquisitionTime=lambda i: f"10000{i // 4}"),
    "one slice of another type": setting(ImageType=lambda i: ["ORIGINAL", "PRIMARY", "AXIAL" if i else "OTHER"]),
    "reconstructed in any order": setting(ContentTime=lambda i: f"10000{(i * 5) % 12 // 3}"),
    "a patient for every file": setting(PatientID=lambda i: f"X{i}"),
    "numbers in any order": setting(InstanceNumber=lambda i: (i * 5) % 12),
    "counted from the feet": setting(InstanceNumber=lambda i: 100 - i),
}


@pytest.mark.parametrize("change", ONE_SCAN.values(), ids=ONE_SCAN)
def test_one_scan_stays_one(tmp_path: Path, change) -> None:
    write(tmp_path, FIRST, change=change)
    np.testing.assert_array_equal(read_scan(tmp_path).hu[::-1], FIRST)


def test_a_scan_in_two_folders_that_follow_each_other_stays_one(tmp_path: Path) -> None:
    files = write(tmp_path, FIRST)
    (tmp_path / "more").mkdir()
    for file in files[6:]:
        file.rename(tmp_path / "more" / file.name)
    assert read_scan(tmp_path).shape[0] == 12


def test_a_copy_of_a_scan_in_another_folder_is_no_second_scan(tmp_path: Path) -> None:
    for file in write(tmp_path / "one", FIRST):
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / file.name).write_bytes(file.read_bytes())
    volume = read_scan(tmp_path)
    assert volume.shape[0] == 12
    assert "12 duplicate slice(s)" in volume.corrections[0]


def test_a_missing_slice_between_acquisitions_is_still_missing(tmp_path: Path) -> None:
    write(tmp_path, FIRST, change=setting(AcquisitionNumber=lambda i: i // 4))[4].unlink()
    with pytest.raises(MissingSlicesError):
        read_scan(tmp_path)


def test_two_slices_at_one_place_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    write(tmp_path, SECOND[:1], start=101)
    with pytest.raises(DuplicateSlicesError, match=r"IM0001\.dcm.*IM0101\.dcm"):
        read_scan(tmp_path)


@pytest.mark.parametrize("own", [(), ("StudyInstanceUID",), ("StudyInstanceUID", "PatientID")])
def test_slices_with_a_uid_each_are_put_together_and_said(tmp_path: Path, own: tuple[str, ...]) -> None:
    tags = {tag: lambda _: generate_uid() for tag in ("SeriesInstanceUID", *own)}
    write(tmp_path, FIRST, change=setting(**tags))
    volume = read_scan(tmp_path)
    np.testing.assert_array_equal(volume.hu[::-1], FIRST)
    assert "12 images of one folder has a SeriesInstanceUID of its own" in volume.corrections[0]
    assert volume.scan_id.startswith("sha256:")


def test_slices_with_a_uid_each_that_do_not_fit_say_why(tmp_path: Path) -> None:
    files = write(tmp_path, FIRST, change=setting(SeriesInstanceUID=lambda _: generate_uid()))
    files[4].unlink()
    with pytest.raises(
        AmbiguousScanError, match=r"11 images .* SeriesInstanceUID of its own.*not put together.*missing"
    ):
        read_scan(tmp_path)


def test_two_acquisitions_of_slices_with_a_uid_each_are_two_scans(tmp_path: Path) -> None:
    for first, hu in ((1, FIRST), (101, SECOND)):
        tags = setting(SeriesInstanceUID=lambda _: generate_uid(), AcquisitionNumber=first)
        write(tmp_path, hu, start=first, change=tags)
    assert [entry.slices for entry in find_scans(tmp_path)] == [12, 12]


def test_images_without_a_position_are_no_reason_to_fail_before_they_are_opened(tmp_path: Path) -> None:
    files = write(tmp_path, FIRST, change=setting(AcquisitionNumber=lambda i: i % 2))
    dataset = pydicom.dcmread(files[3])
    del dataset.ImagePositionPatient
    save(dataset, files[3])
    assert len(find_scans(tmp_path)) == 1
