"""What one format accepts, all do: an axis of length 1, a tilt, a small shear; and content decides, not the name."""

import gzip

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import GeometryError, ScanError, UnsupportedScanError

from .image_files import LPS_TO_RAS, SPACING, body, ct_series, metaimage, nifti, nrrd, write

DX, DY, DZ = SPACING
FOUR = {
    "scan.nii": nifti(body()[None]),
    "five.nii": nifti(body()[None, None]),
    "scan.mha": metaimage(
        NDims="4",
        DimSize="16 12 4 1",
        ElementSpacing="0.75 0.5 2 1",
        Offset="0 0 0 0",
        TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    ),
    "scan.nrrd": nrrd(
        dimension="4",
        sizes="16 12 4 1",
        kinds=None,
        space=None,
        space_dimension="4",
        space_directions=f"({DX},0,0,0) (0,{DY},0,0) (0,0,{DZ},0) (0,0,0,1)",
        space_origin="(0,0,0,0)",
    ),
    "list.nrrd": nrrd(
        dimension="4",
        sizes="16 12 4 1",
        kinds="domain domain domain list",
        space_directions=f"({DX},0,0) (0,{DY},0) (0,0,{DZ}) none",
    ),
    "first.nrrd": nrrd(
        dimension="4",
        sizes="1 16 12 4",
        kinds="vector domain domain domain",
        space_directions=f"none ({DX},0,0) (0,{DY},0) (0,0,{DZ})",
    ),
}


@pytest.mark.parametrize("name", FOUR)
def test_axes_of_length_1_beyond_the_third_are_left_out(tmp_path, name):
    volume = read_scan(write(tmp_path / name, FOUR[name]))
    np.testing.assert_array_equal(volume.hu, body())
    assert volume.spacing == (DZ, DY, DX)


def test_what_simpleitk_joins_to_four_dimensions_opens(tmp_path):
    four = sitk.JoinSeries([sitk.GetImageFromArray(body())])
    for name in ("a.nrrd", "a.mha", "a.nii.gz"):
        sitk.WriteImage(four, str(tmp_path / name))
        np.testing.assert_array_equal(np.sort(read_scan(tmp_path / name).hu, None), np.sort(body(), None))


def tilted(tmp_path, kind, shift):
    """A scan whose slices lie `shift` mm further to the back, one after the other."""
    columns = np.array([[DX, 0, 0], [0, DY, shift], [0, 0, DZ]])
    along = columns[:, 2]
    if kind == "dicom":
        return ct_series(tmp_path / "dicom", shift=shift)
    if kind == "nii":
        affine = np.eye(4)
        affine[:3, :3] = columns
        affine[:3, 3] = [-10, -20, 30]
        length = float(np.linalg.norm(along))
        return write(tmp_path / "scan.nii", nifti(sform=LPS_TO_RAS @ affine, pixdim=(DX, DY, length)))
    if kind == "nrrd":
        return write(tmp_path / "scan.nrrd", nrrd(space_directions=f"({DX},0,0) (0,{DY},0) (0,{shift},{DZ})"))
    length = float(np.linalg.norm(along))
    matrix = f"1 0 0 0 1 0 0 {shift / length} {DZ / length}"
    return write(tmp_path / "scan.mha", metaimage(TransformMatrix=matrix, ElementSpacing=f"{DX} {DY} {length}"))


@pytest.mark.parametrize("shift", [0.0, 0.0015, 0.005, 0.4, -0.4, 1.0])
def test_a_tilt_is_read_and_said_alike(tmp_path, shift):
    first, *others = (read_scan(tilted(tmp_path, kind, shift)) for kind in ("dicom", "nii", "nrrd", "mha"))
    for other in others:
        np.testing.assert_array_equal(other.hu, first.hu)
        np.testing.assert_allclose(other.spacing, first.spacing, atol=1e-5)
        np.testing.assert_allclose(other.origin, first.origin, atol=1e-5)
        np.testing.assert_allclose(other.direction, first.direction, atol=1e-3)
        assert other.corrections == first.corrections
    assert bool(first.corrections) == (abs(shift) >= 0.005)


@pytest.mark.parametrize("kind", ["nii", "nrrd", "mha"])
def test_a_shear_within_a_slice_is_refused(tmp_path, kind):
    lean = 0.1
    affine = np.diag([DX, DY, DZ, 1.0])
    affine[1, 0] = lean
    length = float(np.hypot(DX, lean))
    data = {
        "nii": nifti(sform=LPS_TO_RAS @ affine, pixdim=(length, DY, DZ)),
        "nrrd": nrrd(space_directions=f"({DX},{lean},0) (0,{DY},0) (0,0,{DZ})"),
        "mha": metaimage(
            TransformMatrix=f"{DX / length} {lean / length} 0 0 1 0 0 0 1", ElementSpacing=f"{length} {DY} {DZ}"
        ),
    }[kind]
    with pytest.raises(GeometryError, match="not at right angles within a slice"):
        read_scan(write(tmp_path / f"scan.{kind}", data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("packed.nii", gzip.compress(nifti())),
        ("plain.nii.gz", nifti()),
        ("nifti", nifti()),
        ("nifti.img", gzip.compress(nifti())),
        ("nifti.mha", nifti()),
        ("meta.nrrd", metaimage()),
        ("meta.nii.gz", metaimage(packed=True)),
        ("meta", metaimage()),
        ("nrrd.mhd", nrrd()),
        ("nrrd.dcm", nrrd(encoding="gzip")),
        ("nrrd.png", nrrd()),
        ("001.png", nifti()),
        ("DL_info.nii", nifti(second=True)),
    ],
)
def test_content_decides_what_a_file_is(tmp_path, name, data):
    file = write(tmp_path / name, data)
    for path in (file, tmp_path):
        volume = read_scan(path)
        np.testing.assert_array_equal(volume.hu, body())
        assert volume.corrections == ()


@pytest.mark.parametrize("name", ["slice.nii", "slice.nii.gz", "slice.mha", "slice", "001.png"])
def test_dicom_is_dicom_whatever_it_is_called(tmp_path, name):
    for file in ct_series(tmp_path).iterdir():
        file.rename(file.with_name(f"{file.stem}{name}" if name != "001.png" else f"{file.stem}.png"))
    np.testing.assert_array_equal(read_scan(tmp_path).hu, body())
    np.testing.assert_array_equal(read_scan(next(tmp_path.iterdir())).hu, body())


@pytest.mark.parametrize("data", [gzip.compress(nrrd()), gzip.compress(metaimage())])
def test_a_nrrd_or_metaimage_packed_as_a_whole_is_told(tmp_path, data):
    with pytest.raises(UnsupportedScanError, match="compressed as a whole"):
        read_scan(write(tmp_path / "scan.gz", data))


def pictures(folder, count=1, dtype=np.uint16):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((8, 8), 32768, dtype))


@pytest.mark.parametrize("count", [1, 4])
def test_numbered_pictures_beside_a_series_are_left_out_and_said(tmp_path, count):
    ct_series(tmp_path)
    pictures(tmp_path, count)
    (entry,) = found = find_scans(tmp_path)
    assert (entry.kind, entry.slices) == ("dicom", 4)
    (left,) = found.left_out
    assert len(left.files) == count
    assert "picture beside a scan" in left.reason


def test_numbered_pictures_beside_an_image_file_are_left_out(tmp_path):
    write(tmp_path / "scan.nrrd", nrrd())
    pictures(tmp_path)
    assert [entry.kind for entry in find_scans(tmp_path)] == ["nrrd"]


def test_a_deeplesion_download_hides_no_scan_beside_it_and_is_not_hidden(tmp_path):
    pictures(tmp_path / "Images_png" / "000001_01_01", 3)
    ct_series(tmp_path / "mine")
    write(tmp_path / "scan.nii", nifti())
    write(tmp_path / "notes.txt", b"hello")
    found = find_scans(tmp_path)
    assert [(entry.name, entry.kind) for entry in found] == [
        ("000001_01_01", "deeplesion"),
        ("Chest", "dicom"),
        ("scan", "nifti"),
    ]
    assert found.left_out == ()


def test_a_scan_dropped_into_a_deeplesion_series_is_offered_as_well(tmp_path):
    series = tmp_path / "000001_01_01"
    pictures(series, 3)
    write(series / "scan.nii", nifti())
    assert [entry.kind for entry in find_scans(series)] == ["deeplesion", "nifti"]
    assert [entry.kind for entry in find_scans(tmp_path)] == ["deeplesion", "nifti"]


def test_a_download_of_deeplesion_below_a_folder_of_other_scans_is_found_with_them(tmp_path):
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "scan.nii", nifti())
    write(tmp_path / "other" / "notes.txt", b"of a person")
    download = tmp_path / "archive" / "DeepLesion"
    pictures(download / "Images_png" / "000001_01_01", 3)
    write(download / "DL_info.csv", b"File_name\n")
    found = find_scans(tmp_path)
    assert [(entry.kind, entry.name) for entry in found] == [("deeplesion", "000001_01_01"), ("nifti", "scan")]
    # Its own table is nothing that was left out; what lies elsewhere is.
    assert [file.name for one in found.left_out for file in one.files] == ["notes.txt"]


def test_a_table_or_key_slices_alone_hide_no_scan(tmp_path):
    ct_series(tmp_path)
    write(tmp_path / "DL_info.csv", b"File_name\n")
    cv2.imwrite(str(tmp_path / "000001_01_01_109.png"), np.zeros((4, 6), np.uint8))
    assert [entry.kind for entry in find_scans(tmp_path)] == ["dicom"]


def test_a_picture_alone_is_still_a_slice_of_deeplesion(tmp_path):
    pictures(tmp_path, 2)
    assert [entry.kind for entry in find_scans(tmp_path)] == ["deeplesion"]
    with pytest.raises(ScanError, match="not DICOM"):
        read_scan(write(tmp_path / "002.png", b"no picture at all"))
