"""CT in single image files: NIfTI (nibabel), NRRD and MetaImage (SimpleITK), each validated before it is believed."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from napari_uld.ct.entries import Kind, ScanEntry
from napari_uld.ct.geometry import COSINE_TOLERANCE, Stack, to_volume
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import AIR_HU
from napari_uld.errors import GeometryError, ScanError, UnsupportedScanError

SUFFIXES: dict[str, Kind] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "mha",
    ".mhd": "mha",
}
# A volume of whole numbers with no negative and at most so many different values is a label mask.
MOST_LABELS = 256
_DAMAGED = (EOFError, HeaderDataError, ImageFileError, MemoryError, OSError, OverflowError, ValueError, zlib.error)


def image_kind(file: Path) -> Kind | None:
    """Tell the format from the file's suffix, or None."""
    name = file.name.lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)


def find_image(file: Path) -> ScanEntry:
    """Describe one image file from its header.

    Raises
    ------
    UnsupportedScanError
        If it is not a 3D volume of real numbers.
    ScanError
        If the header cannot be read.
    """
    kind = image_kind(file)
    if kind is None:
        raise UnsupportedScanError(f"{file}: {', '.join(SUFFIXES)} required; convert it to one of these")
    shape, scalar = _nifti_header(file) if kind == "nifti" else _itk_header(file)
    if len(shape) != 3 or min(shape) < 1:
        raise UnsupportedScanError(
            f"{file} has {len(shape)} dimensions {shape}; one 3D volume is required: "
            "save the time point or channel you want as its own file"
        )
    if not scalar:
        raise UnsupportedScanError(
            f"{file} has colour, vector or complex voxels; one real number a voxel, in Hounsfield units, is required"
        )
    suffix = next(suffix for suffix in SUFFIXES if file.name.lower().endswith(suffix))
    note = " x ".join(str(size) for size in shape) + " voxels"
    return ScanEntry(file.name[: -len(suffix)], kind, file, shape[2], note, (file,))


def read_image(entry: ScanEntry) -> CTVolume:
    """Read one image file.

    Raises
    ------
    UnsupportedScanError
        If it is a label mask or not a volume.
    ScanError
        If it is damaged or cut short.
    """
    stack = _read_nifti(entry.path) if entry.kind == "nifti" else _read_itk(entry.path)
    return to_volume(stack, source=entry.path, name=entry.name)


def _damaged(file: Path, found: object) -> ScanError:
    return ScanError(f"{file} cannot be read ({found}); it is damaged or cut short: copy or download it again")


def _nifti_header(file: Path) -> tuple[tuple[int, ...], bool]:
    """Give the shape (x, y, z, ...) and whether voxels are real numbers."""
    try:
        image = nib.load(file)
    except _DAMAGED as error:
        raise _damaged(file, error) from error
    if not isinstance(image, nib.nifti1.Nifti1Image):
        raise UnsupportedScanError(f"{file} is {type(image).__name__}; a single-file NIfTI (.nii, .nii.gz) is required")
    return image.shape, image.get_data_dtype().kind in "iuf"


def _read_nifti(file: Path) -> Stack:
    """Read a NIfTI as a stack with LPS geometry."""
    try:
        data = file.read_bytes()
        # Decompressing to the end also checks the checksum, which a partial read never reaches.
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        # The header's length comes first, in either byte order: 348 in NIfTI-1, 540 in NIfTI-2.
        is_second = 540 in (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
        image = (nib.nifti2.Nifti2Image if is_second else nib.nifti1.Nifti1Image).from_bytes(data)
        values = np.asanyarray(image.dataobj)
    except _DAMAGED as error:
        raise _damaged(file, error) from error
    said = []
    if not (int(image.header["qform_code"]) or int(image.header["sform_code"])):
        said.append("the file stores no orientation: left to right and head are assumed, check them")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # NIfTI speaks RAS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = affine[:3, :3] / spacing
    return _image_stack(values.T, spacing, affine[:3, 3], direction, file, said)


def _itk_header(file: Path) -> tuple[tuple[int, ...], bool]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _damaged(file, f"no complete {file.suffix[1:]} image") from error
    scalar = reader.GetNumberOfComponents() == 1 and "complex" not in sitk.GetPixelIDValueAsString(reader.GetPixelID())
    return reader.GetSize(), scalar


def _read_itk(file: Path) -> Stack:
    """Read a NRRD or MetaImage as a stack; SimpleITK speaks LPS."""
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise _damaged(file, f"no complete {file.suffix[1:]} image") from error
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return _image_stack(
        sitk.GetArrayFromImage(image), np.array(image.GetSpacing()), np.array(image.GetOrigin()), direction, file, []
    )


def _image_stack(
    values: np.ndarray, spacing: np.ndarray, origin: np.ndarray, direction: np.ndarray, file: Path, said: list[str]
) -> Stack:
    """Check voxels and axes and make a stack; `spacing` is (x, y, z) mm."""
    if not np.allclose(direction.T @ direction, np.eye(3), rtol=0, atol=COSINE_TOLERANCE):
        raise GeometryError(
            f"{file}: the axes {np.round(direction, 3).tolist()} are not at right angles; "
            "resample the scan to a grid without shear"
        )
    if np.array_equal(spacing, np.ones(3)) and not origin.any():
        said = [*said, "voxels of exactly 1 mm at the origin: the file may not know its spacing, so check measures"]
    hu, more = _checked_hu(values, file)
    x, y, z = (float(value) for value in spacing)
    return Stack(hu, (z, y, x), origin, direction, np.arange(len(hu)), (*said, *more))


def _checked_hu(values: np.ndarray, file: Path) -> tuple[np.ndarray, list[str]]:
    """Give voxels as int16 HU, refusing label masks; say what was put right."""
    said = []
    if values.dtype.kind == "f":
        empty = ~np.isfinite(values)
        if empty.any():
            said.append(f"{int(empty.sum())} voxels without a value set to {AIR_HU} HU")
            values = np.where(empty, AIR_HU, values)
    low, high = values.min(), values.max()
    if low >= 0:
        if high <= 1 or (high < 2**16 and _few_whole_numbers(values)):
            raise UnsupportedScanError(
                f"{file} looks like a label mask (values from {low:g} to {high:g}, few and none negative); "
                "a CT in Hounsfield units is required: open the scan the mask belongs to"
            )
        said.append("no value is below 0: check that the file holds Hounsfield units")
    limits = np.iinfo(np.int16)
    if low < limits.min or high > limits.max:
        said.append("values beyond the 16-bit range clipped")
        values = np.clip(values, limits.min, limits.max)
    if values.dtype.kind == "f":
        values = np.rint(values)
    return values.astype(np.int16), said


def _few_whole_numbers(values: np.ndarray) -> bool:
    """Tell whether non-negative values are whole and take at most `MOST_LABELS` different ones."""
    whole = values.astype(np.uint16)
    return bool((whole == values).all()) and int((np.bincount(whole.ravel()) > 0).sum()) <= MOST_LABELS
