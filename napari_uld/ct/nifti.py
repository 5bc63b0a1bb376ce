"""NIfTI (.nii, .nii.gz): its header checked against the file's size, and its witnesses of place against one another."""

import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from napari_uld.ct.header import ImageHeader, no_real_number, read_start, steps_of, three_axes
from napari_uld.ct.stored import Stored, check_real, check_size, damaged
from napari_uld.errors import GeometryError, UnsupportedScanError

_DAMAGED = (HeaderDataError, ImageFileError, KeyError, OverflowError, ValueError, WrapStructError, struct.error)
# Both witnesses of a spacing say the same where they differ by less than this many mm, or this share of it.
_SAME_SPACING = 1e-3
# Two places of one voxel this far apart are worth telling (mm).
_SAME_PLACE = 0.5
_UNITS = {0: (1.0, ""), 1: (1000.0, "metres"), 2: (1.0, ""), 3: (1e-3, "micrometres")}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def starts_nifti(start: bytes) -> bool:
    """Tell a NIfTI, unpacked, from how it begins."""
    return any(start[place : place + 3] in (b"n+1", b"ni1", b"n+2", b"ni2") for place in (344, 4)) and bool(
        {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & {348, 540}
    )


def unpacked_start(start: bytes, length: int) -> bytes:
    """Give the first bytes of what is in a gzip stream that begins with `start`, or `start` itself."""
    if start[:2] != b"\x1f\x8b":
        return start
    try:
        return zlib.decompressobj(31).decompress(start, length)
    except zlib.error:
        return b""


def read_nifti_header(file: Path) -> ImageHeader:
    """Read a NIfTI's header, gzip'd or not, and check that the file can hold what it promises.

    Raises
    ------
    UnsupportedScanError
        If it is no 3D volume of real numbers, or says itself that its values are no intensities.
    GeometryError
        If what it says of millimetres contradicts itself.
    ScanError
        If it is damaged.
    """
    packed = read_start(file, 4096)
    check_real(file, packed)
    start = unpacked_start(packed, 1024)
    header = _header(start, file)
    try:
        sizes, dtype, offset = header.get_data_shape(), header.get_data_dtype(), int(header.get_data_offset())
        slope, inter = header.get_slope_inter()
    except _DAMAGED as error:
        raise damaged(file, error) from error
    axes = three_axes(sizes, file)
    if dtype.kind not in "iuf":
        raise no_real_number(file)
    _check_intent(header, file)
    x, y, z = (int(sizes[axis]) for axis in axes)
    if packed[:2] == b"\x1f\x8b":
        stored = Stored(file, (z, y, x), dtype, "compressed", skipped=offset)
    else:
        stored = Stored(file, (z, y, x), dtype, "raw", offset)
    check_size(stored, file)
    spacing, origin, direction, said = _geometry(header, (x, y, z), file)
    return ImageHeader(
        stored,
        spacing,
        origin,
        direction,
        tuple(said),
        1.0 if slope is None else slope,
        0.0 if inter is None else inter,
    )


def _header(start: bytes, file: Path) -> Nifti1Header:
    """Parse the header in either version and byte order."""
    # Its length comes first: 348 in NIfTI-1, 540 in NIfTI-2.
    lengths = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")}
    if not lengths & {348, 540}:
        raise damaged(file, "it does not begin as a NIfTI does")
    is_second = 540 in lengths
    if len(start) < (540 if is_second else 348):
        raise damaged(file, f"its header ends after {len(start)} bytes")
    magic = start[4:8] if is_second else start[344:348]
    if magic[:3] in (b"ni1", b"ni2") or not magic.strip(b"\0"):
        kind = "the header of a two-file NIfTI" if magic.strip(b"\0") else "an ANALYZE header"
        raise UnsupportedScanError(f"{file} is {kind}; a single-file NIfTI (.nii, .nii.gz) is required: save it as one")
    length, form = (540, nib.nifti2.Nifti2Header) if is_second else (348, Nifti1Header)
    try:
        return form(start[:length], check=True)
    except _DAMAGED as error:
        raise damaged(file, error) from error


def _check_intent(header: Nifti1Header, file: Path) -> None:
    """Refuse what says itself that it is a statistic or a label mask."""
    intent = int(header["intent_code"])
    if 2 <= intent <= 24:
        raise UnsupportedScanError(
            f"{file} says that it is a statistics map (intent {header.get_intent()[0]}); "
            "a CT in Hounsfield units is required: open the scan itself"
        )
    if intent in (1002, 1003):
        raise UnsupportedScanError(
            f"{file} says that it is a label mask (intent {header.get_intent()[0]}); "
            "a CT in Hounsfield units is required: open the scan the mask belongs to"
        )


def _geometry(
    header: Nifti1Header, sizes: tuple[int, int, int], file: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Give spacing, origin and direction in LPS mm, refusing witnesses that contradict one another."""
    said = []
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS:
        raise GeometryError(f"{file}: unit code {code} is unknown (xyzt_units); save the scan in millimetres")
    unit, name = _UNITS[code]
    if name:
        said.append(f"the file measures in {name}: turned to millimetres")
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not (by_sform or by_qform):
        said.append("the file stores no orientation: left to right and head are assumed, check them")
    try:
        affine = header.get_best_affine()
    except _DAMAGED as error:
        raise GeometryError(
            f"{file}: its orientation (qform) is no rotation ({error}); export the scan again"
        ) from error
    scale = np.diag([unit, unit, unit, 1.0])
    lps = _RAS_TO_LPS @ scale @ affine  # NIfTI speaks RAS
    spacing, direction = steps_of(lps[:3, :3], file)
    if by_sform:
        pixdim = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64)) * unit
        said += _check_pixdim(spacing, direction, pixdim, unit, by_qform, file)
    if by_sform and by_qform:
        said += _check_qform(header, scale @ affine, scale, sizes, file)
    return spacing, lps[:3, 3], direction, said


def _check_pixdim(
    spacing: np.ndarray, direction: np.ndarray, pixdim: np.ndarray, unit: float, by_qform: bool, file: Path
) -> list[str]:
    """Compare the sform's spacing with that of pixdim, all in mm along x, y and z."""
    upright = spacing.copy()
    # Where slices are tilted, some writers give the distance between them, others the step from one to the next.
    upright[2] = abs(np.cross(direction[:, 0], direction[:, 1]) @ direction[:, 2]) * spacing[2]
    if any(np.allclose(pixdim, one, rtol=_SAME_SPACING, atol=_SAME_SPACING) for one in (spacing, upright)):
        return []
    found = (
        f"voxels of {_by(spacing)} mm by the sform, of {_by(pixdim)} mm by pixdim{' and the qform' if by_qform else ''}"
    )
    unset = not by_qform and (np.all(pixdim == unit) or np.all(pixdim == 0))
    if unset:
        return [f"{found}: those of the sform taken"]
    raise GeometryError(f"{file} contradicts itself: {found} (x, y, z); find out which is true and correct the header")


def _check_qform(
    header: Nifti1Header, by_sform: np.ndarray, scale: np.ndarray, sizes: tuple[int, int, int], file: Path
) -> list[str]:
    """Compare where sform and qform put the corners of the scan."""
    try:
        by_qform = scale @ header.get_qform()
    except _DAMAGED:
        return ["the qform is no rotation: the sform taken"]
    if not np.isfinite(by_qform).all():
        return ["the qform holds no numbers: the sform taken"]
    if np.linalg.det(by_sform[:3, :3]) * np.linalg.det(by_qform[:3, :3]) < 0:
        raise GeometryError(
            f"{file} contradicts itself: the qform is the mirror image of the sform, so left and right are not known; "
            "find out which is true and correct the header"
        )
    corners = np.array([[x, y, z, 1] for x in (0, sizes[0]) for y in (0, sizes[1]) for z in (0, sizes[2])]).T
    apart = float(np.linalg.norm((by_sform - by_qform) @ corners, axis=0).max())
    if apart <= _SAME_PLACE:
        return []
    return [
        f"sform and qform put the scan up to {apart:.1f} mm apart (first voxel at {_by(by_sform[:3, 3])} and at "
        f"{_by(by_qform[:3, 3])} mm): the sform taken"
    ]


def _by(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
