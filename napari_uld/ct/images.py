"""CT in single image files: NIfTI, NRRD and MetaImage, told apart by content and validated before they are believed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from nibabel.volumeutils import apply_read_scaling

from napari_uld.ct.entries import Kind, ScanEntry
from napari_uld.ct.geometry import COSINE_TOLERANCE, Stack, check_spacing, tilt_said, to_volume
from napari_uld.ct.header import ImageHeader, read_start
from napari_uld.ct.metaimage import read_metaimage_header, starts_metaimage
from napari_uld.ct.nifti import read_nifti_header, starts_nifti, unpacked_start
from napari_uld.ct.nrrd import read_nrrd_header
from napari_uld.ct.plausibility import check_hu
from napari_uld.ct.stored import load
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import AIR_HU
from napari_uld.errors import GeometryError, UnsupportedScanError

SUFFIXES: dict[str, Kind] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".mha": "mha",
    ".mhd": "mha",
}
_HEADERS: dict[Kind, Callable[[Path], ImageHeader]] = {
    "nifti": read_nifti_header,
    "nrrd": read_nrrd_header,
    "mha": read_metaimage_header,
}
# What tells the format lies within so many bytes.
START = 4096
_GZIP = b"\x1f\x8b"


def image_kind(file: Path) -> Kind | None:
    """Tell the format from how the file begins, and only where that says nothing from its suffix.

    Raises
    ------
    ScanError
        If the file cannot be read.
    """
    return kind_of(read_start(file, START), file.name)


def kind_of(packed: bytes, name: str) -> Kind | None:
    """Tell the format from a file's first `START` bytes and its name."""
    start = unpacked_start(packed, START)
    if starts_nifti(start):
        return "nifti"
    if start.startswith(b"NRRD"):
        return "nrrd"
    if starts_metaimage(start):
        return "mha"
    if start[128:132] == b"DICM":
        return None
    return next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def find_image(file: Path, kind: Kind) -> ScanEntry:
    """Describe one image file from its header.

    Parameters
    ----------
    file
        The file, or the header of a pair.
    kind
        What `image_kind` says of it.

    Raises
    ------
    UnsupportedScanError
        If it is not a 3D volume of real numbers.
    ScanError
        If the header cannot be read, or promises what the file does not hold.
    """
    if kind != "nifti" and read_start(file, 2) == _GZIP:
        raise UnsupportedScanError(f"{file} is compressed as a whole; only NIfTI may be: unpack it first (gunzip)")
    stored = _HEADERS[kind](file).stored
    name = next((file.name[: -len(suffix)] for suffix in SUFFIXES if file.name.lower().endswith(suffix)), file.name)
    z, y, x = stored.shape
    # A detached header's voxels belong to it.
    files = (file,) if stored.file == file else (file, stored.file)
    return ScanEntry(name or file.name, kind, file, z, f"{x} x {y} x {z} voxels", files)


def read_image(entry: ScanEntry) -> CTVolume:
    """Read one image file.

    Raises
    ------
    UnsupportedScanError
        If it is a label mask, a grey image or not a volume.
    GeometryError
        If its axes or spacing are no scan's.
    ScanError
        If it is damaged or cut short.
    """
    header = _HEADERS[entry.kind](entry.path)
    spacing, direction, said = _grid(header, entry.path)
    values, about_file = load(header.stored, entry.path)
    values = apply_read_scaling(values, np.float64(header.slope), np.float64(header.inter))
    hu, about_values = _to_hu(values, entry.path)
    corrections = (*header.said, *said, *about_file, *about_values)
    stack = Stack(hu, spacing, header.origin, direction, np.arange(len(hu)), corrections)
    return to_volume(stack, source=entry.path, name=entry.name)


def _grid(header: ImageHeader, file: Path) -> tuple[tuple[float, float, float], np.ndarray, list[str]]:
    """Give spacing (z, y, x) and axes as for slices of DICOM: upright within, stacked along their normal."""
    direction = header.direction
    x, y, z = (float(value) for value in header.spacing)
    check_spacing((z, y, x), file)
    said = []
    if not np.allclose(direction.T @ direction, np.eye(3), rtol=0, atol=COSINE_TOLERANCE):
        row, column, along = direction.T
        lengths = np.linalg.norm(direction, axis=0)
        normal = np.cross(row, column)
        if abs(row @ column) > COSINE_TOLERANCE or not np.allclose(lengths, 1, atol=COSINE_TOLERANCE):
            raise GeometryError(
                f"{file}: the axes {np.round(direction, 3).tolist()} are not at right angles within a slice; "
                "resample the scan to a grid without shear"
            )
        if along @ normal < 0:
            normal = -normal
        said = tilt_said(float(np.degrees(np.arctan2(np.linalg.norm(np.cross(along, normal)), along @ normal))))
        direction = np.stack([row, column, normal], axis=1)
        z *= float(along @ normal)
        check_spacing((z, y, x), file)
    if np.array_equal(header.spacing, np.ones(3)) and not header.origin.any():
        said.append("voxels of exactly 1 mm at the origin: the file may not know its spacing, so check measures")
    return (z, y, x), direction, said


def _to_hu(values: np.ndarray, file: Path) -> tuple[np.ndarray, list[str]]:
    """Give voxels as int16 HU, refusing what cannot be HU; say what was put right."""
    said = []
    empty = None
    if values.dtype.kind == "f":
        empty = ~np.isfinite(values)
        if not empty.any():
            empty = None
        else:
            said.append(f"{int(empty.sum())} voxels without a value set to {AIR_HU} HU")
            values = np.where(empty, AIR_HU, values)
    limits = np.iinfo(np.int16)
    if values.dtype.newbyteorder("=") != np.int16 and (values.min() < limits.min or values.max() > limits.max):
        said.append("values beyond the 16-bit range clipped")
        values = np.clip(values, limits.min, limits.max)
    if values.dtype.kind == "f":
        values = np.rint(values)
    hu = values.astype(np.int16, copy=False)
    # What was filled in is no witness.
    measured = hu if empty is None else hu[~empty]
    if not measured.size:
        raise UnsupportedScanError(f"{file}: no voxel has a value; a CT in Hounsfield units is required: open another")
    check_hu(measured, file)
    if measured.min() >= 0:
        said.append("no value is below 0: check that the file holds Hounsfield units")
    return hu, said
