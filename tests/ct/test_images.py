import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import AmbiguousScanError, GeometryError, ScanError, UnsupportedScanError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ITK_FORMATS = ["nrrd", "nhdr", "mha", "mhd"]


def hounsfield(shape=(4, 5, 6)):
    """Different HU in every voxel, (z, y, x)."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 50


def nifti(path, values, affine=None):
    """Write values (z, y, x) whose grid has the LPS `affine`."""
    affine = np.diag([0.5, 0.75, 2.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(values.T, LPS_TO_RAS @ affine), path)
    return path


def itk_image(values=None):
    image = sitk.GetImageFromArray(hounsfield() if values is None else values)
    image.SetSpacing((0.5, 0.75, 2.0))
    image.SetOrigin((-10.0, -20.0, 30.0))
    return image


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_nifti_is_read_with_lps_geometry(tmp_path, name):
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    affine[:3, 3] = [-10, -20, 30]
    volume = read_scan(nifti(tmp_path / name, hounsfield(), affine))
    np.testing.assert_array_equal(volume.hu, hounsfield())
    assert volume.spacing == (2.0, 0.75, 0.5)
    assert volume.origin == (-10.0, -20.0, 30.0)
    assert (volume.name, volume.corrections) == ("scan", ())


def test_a_nifti_whose_axes_grow_right_front_and_feet_is_flipped(tmp_path):
    affine = np.diag([-0.5, -0.75, -2.0, 1.0])
    volume = read_scan(nifti(tmp_path / "scan.nii", hounsfield(), affine))
    np.testing.assert_array_equal(volume.hu, hounsfield()[::-1, ::-1, ::-1])
    assert volume.origin == (-0.5 * 5, -0.75 * 4, -2.0 * 3)
    assert volume.slice_numbers.tolist() == [3, 2, 1, 0]


def test_a_nifti_scaled_by_its_header_is_read_in_hounsfield_units(tmp_path):
    image = nib.Nifti1Image(np.zeros((3, 3, 3), np.int16), LPS_TO_RAS * [2, 2, 2, 1])
    image.header.set_slope_inter(2.0, -1000.0)
    file = tmp_path / "scan.nii"
    nib.save(image, file)
    # nibabel writes the data scaled back; put known stored values after the header.
    raw = bytearray(file.read_bytes())
    raw[-54:] = np.arange(27, dtype="<i2").tobytes()
    file.write_bytes(raw)
    assert read_scan(file).hu.ravel().tolist() == list(range(-1000, -946, 2))


def test_a_nifti_2_is_read(tmp_path):
    file = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti2Image(hounsfield().T, LPS_TO_RAS * [2, 2, 2, 1]), file)
    np.testing.assert_array_equal(read_scan(file).hu, hounsfield())


def test_a_nifti_without_orientation_says_so(tmp_path):
    image = nib.Nifti1Image(hounsfield().T, None)
    image.header.set_zooms((0.5, 0.75, 2.0))
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "scan.nii")
    volume = read_scan(tmp_path / "scan.nii")
    assert volume.spacing == (2.0, 0.75, 0.5)
    assert "stores no orientation" in volume.corrections[0]


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
def test_a_truncated_nii_gz_is_refused(tmp_path, kept):
    rng = np.random.default_rng(0)
    file = nifti(tmp_path / "scan.nii.gz", rng.integers(-1000, 1000, (9, 20, 20)).astype(np.int16))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ScanError, match="scan.nii.gz cannot be read"):
        read_scan(file)


def test_a_truncated_nii_is_refused(tmp_path):
    file = nifti(tmp_path / "scan.nii", hounsfield())
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ScanError, match="cut short"):
        read_scan(file)


def test_a_nii_gz_whose_checksum_is_wrong_is_refused(tmp_path):
    file = nifti(tmp_path / "scan.nii.gz", hounsfield())
    data = bytearray(gzip.compress(gzip.decompress(file.read_bytes())))
    data[-8] ^= 0xFF  # the checksum stands in the last eight bytes
    file.write_bytes(data)
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(file)


def test_a_nii_gz_is_not_mistaken_for_its_sibling(tmp_path):
    nifti(tmp_path / "scan.nii", hounsfield() - 100)
    nifti(tmp_path / "scan.nii.gz", hounsfield())
    np.testing.assert_array_equal(read_scan(tmp_path / "scan.nii.gz").hu, hounsfield())


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 5, 4, 1, 3), (6, 5)])
def test_a_nifti_that_is_not_3d_is_refused(tmp_path, shape):
    file = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), file)
    with pytest.raises(UnsupportedScanError, match=f"{len(shape)} dimensions"):
        read_scan(file)


def test_colour_and_complex_niftis_are_refused(tmp_path):
    colour = np.zeros((3, 3, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for name, values in {"rgb": colour, "complex": np.zeros((3, 3, 3), np.complex64)}.items():
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii")
        with pytest.raises(UnsupportedScanError, match="colour, vector or complex"):
            read_scan(tmp_path / f"{name}.nii")


@pytest.mark.parametrize(
    "mask",
    [
        np.eye(4, dtype=np.uint8)[None].repeat(3, 0),
        np.eye(4, dtype=np.float32)[None].repeat(3, 0),
        np.arange(64, dtype=np.int16).reshape(4, 4, 4),
        np.linspace(0, 1, 64, dtype=np.float32).reshape(4, 4, 4),
        np.zeros((3, 3, 3), np.int16),
    ],
    ids=["binary", "float binary", "64 labels", "probabilities", "empty"],
)
def test_a_mask_is_refused(tmp_path, mask):
    with pytest.raises(UnsupportedScanError, match="looks like a label mask"):
        read_scan(nifti(tmp_path / "mask.nii.gz", mask))
    sitk.WriteImage(itk_image(mask), tmp_path / "mask.nrrd")
    with pytest.raises(UnsupportedScanError, match="looks like a label mask"):
        read_scan(tmp_path / "mask.nrrd")


def test_a_scan_without_negative_values_is_read_with_a_warning(tmp_path):
    values = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    volume = read_scan(nifti(tmp_path / "scan.nii", values))
    assert "no value is below 0" in volume.corrections[0]


def test_voxels_without_a_value_become_air_and_are_counted(tmp_path):
    values = hounsfield().astype(np.float32)
    values[0, 0, :2] = np.nan
    volume = read_scan(nifti(tmp_path / "scan.nii", values))
    assert volume.hu[0, 0, :3].tolist() == [-1024, -1024, -48]
    assert volume.corrections == ("2 voxels without a value set to -1024 HU",)


def test_float_values_are_rounded_and_clipped(tmp_path):
    values = np.array([-1000.6, -0.4, 0.6, 1e6], np.float32).reshape(1, 2, 2)
    volume = read_scan(nifti(tmp_path / "scan.nii", values))
    assert volume.hu.ravel().tolist() == [-1001, 0, 1, 32767]
    assert volume.corrections == ("values beyond the 16-bit range clipped",)


def test_a_sheared_grid_is_refused(tmp_path):
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    affine[1, 0] = 0.1
    with pytest.raises(GeometryError, match="right angles within a slice"):
        read_scan(nifti(tmp_path / "scan.nii", hounsfield(), affine))


@pytest.mark.parametrize("bad", [0.0, 500.0, np.nan])
def test_absurd_spacing_is_refused(tmp_path, bad):
    file = nifti(tmp_path / "scan.nii", hounsfield())
    raw = bytearray(file.read_bytes())
    raw[280:296] = np.array([bad, 0, 0, 0], "<f4").tobytes()  # srow_x
    file.write_bytes(raw)
    with pytest.raises(GeometryError):
        read_scan(file)


def test_something_else_called_nii_is_refused(tmp_path):
    (tmp_path / "scan.nii").write_text("not an image at all")
    with pytest.raises(ScanError, match="scan.nii cannot be read"):
        read_scan(tmp_path / "scan.nii")


@pytest.mark.parametrize("extension", ITK_FORMATS)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_nrrd_and_metaimage_are_read_with_their_geometry(tmp_path, extension, compressed):
    file = tmp_path / f"scan.{extension}"
    sitk.WriteImage(itk_image(), file, compressed)
    volume = read_scan(file)
    np.testing.assert_array_equal(volume.hu, hounsfield())
    assert volume.spacing == (2.0, 0.75, 0.5)
    assert volume.origin == (-10.0, -20.0, 30.0)
    assert volume.name == "scan"


def test_a_nrrd_in_ras_is_turned(tmp_path):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 6 5 4\n"
        "space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\nkinds: domain domain domain\nendian: little\n"
        "encoding: raw\nspace origin: (1,2,3)\n\n"
    )
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + hounsfield().tobytes())
    volume = read_scan(tmp_path / "scan.nrrd")
    np.testing.assert_array_equal(volume.hu, hounsfield()[:, ::-1, ::-1])
    assert volume.origin == (-1 - 0.5 * 5, -2 - 0.75 * 4, 3.0)


@pytest.mark.parametrize("extension", ITK_FORMATS)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_truncated_nrrd_and_metaimage_are_refused(tmp_path, extension, compressed):
    rng = np.random.default_rng(0)
    file = tmp_path / f"scan.{extension}"
    sitk.WriteImage(itk_image(rng.integers(-1000, 1000, (9, 20, 20)).astype(np.int16)), file, compressed)
    data = max(tmp_path.iterdir(), key=lambda one: one.stat().st_size)
    data.write_bytes(data.read_bytes()[:-50])
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(file)


def test_a_vector_nrrd_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 3, 3, 3), np.int16), isVector=True), tmp_path / "scan.nrrd")
    with pytest.raises(UnsupportedScanError, match="colour, vector or complex|4 dimensions"):
        read_scan(tmp_path / "scan.nrrd")


def test_a_file_that_knows_no_spacing_says_so(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(hounsfield()), tmp_path / "scan.mha")
    assert "may not know its spacing" in read_scan(tmp_path / "scan.mha").corrections[0]


def test_a_folder_of_images_lists_them_and_leaves_out_what_is_no_volume(tmp_path):
    nifti(tmp_path / "ct.nii.gz", hounsfield())
    sitk.WriteImage(itk_image(), tmp_path / "other.mha")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.int16), np.eye(4)), tmp_path / "phases.nii")
    found = find_scans(tmp_path)
    assert [(entry.name, entry.kind, entry.slices) for entry in found] == [("ct", "nifti", 4), ("other", "mha", 4)]
    assert [file.name for left in found.left_out for file in left.files] == ["phases.nii"]
    with pytest.raises(AmbiguousScanError, match="ct, other"):
        read_scan(tmp_path)
