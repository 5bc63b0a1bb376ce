"""CT series in DICOM files: found by their headers, told apart by series, read into Hounsfield units."""

import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.geometry import Slice, stack_slices, to_volume
from napari_uld.ct.plausibility import check_hu
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import AIR_HU
from napari_uld.errors import GeometryError, ScanError, UnsupportedScanError

# Names of what is often found beside CT images, by SOP class.
_OTHER_OBJECTS = {
    "1.2.840.10008.1.3.10": "a DICOMDIR index",
    "1.2.840.10008.5.1.4.1.1.2.1": "a multi-frame enhanced CT (export it as classic single-slice CT)",
    "1.2.840.10008.5.1.4.1.1.2.2": "a multi-frame legacy converted CT (export it as classic single-slice CT)",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation (SEG)",
    "1.2.840.10008.5.1.4.1.1.481.3": "a radiotherapy structure set (RTSTRUCT)",
}
# What tells series apart where files have no SeriesInstanceUID.
_TELL_APART = (
    "StudyInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ConvolutionKernel",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
)
_HEADER_TAGS = [
    *("SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "InstanceNumber", "SamplesPerPixel"),
    *("NumberOfFrames", "RescaleType", "SeriesDate", "StudyDate", *_TELL_APART),
]
# All that pydicom and its decoders raise on damaged headers or pixels.
_DAMAGED = (
    *(AttributeError, BytesLengthException, EOFError, KeyError, MemoryError, NotImplementedError, OSError),
    *(RuntimeError, TypeError, ValueError, struct.error),
)


@dataclass(frozen=True)
class _Header:
    """What tells which series a CT slice belongs to, and how a person calls it."""

    series: tuple[str, ...]
    number: str
    description: str
    date: str
    size: str


def find_dicom(files: Sequence[Path], root: Path) -> tuple[list[ScanEntry], dict[Path, str]]:
    """Group the CT images among `files` by series.

    Returns
    -------
    entries
        One a series, named by its description (not yet unique).
    left_out
        Why each other file is no CT slice.
    """
    series: dict[tuple[str, ...], list[tuple[Path, _Header]]] = {}
    left_out: dict[Path, str] = {}
    with ThreadPoolExecutor() as pool:
        headers = pool.map(_header_or_reason, files)
    for file, header in zip(files, headers, strict=True):
        if isinstance(header, str):
            left_out[file] = header
        else:
            series.setdefault(header.series, []).append((file, header))
    return [_entry(members, root) for members in series.values()], left_out


def _header_or_reason(file: Path) -> _Header | str:
    """Read the tags that tell which series a slice belongs to, or say why the file is no CT slice."""
    try:
        header = _dcmread(file, specific_tags=_HEADER_TAGS, stop_before_pixels=True)
        reason = _why_no_slice(header)
        if reason:
            return reason
        uid = str(header.get("SeriesInstanceUID") or "")
        return _Header(
            series=(uid,) if uid else ("", *(str(header.get(tag, "")) for tag in _TELL_APART)),
            number=str(header.get("SeriesNumber") or ""),
            description=str(header.get("SeriesDescription") or "").strip(),
            date=str(header.get("SeriesDate") or header.get("StudyDate") or ""),
            size=f"{header.get('Columns')} x {header.get('Rows')}",
        )
    except InvalidDicomError:
        return "not DICOM"
    except _DAMAGED as error:
        return f"damaged or unreadable ({type(error).__name__})"


def _dcmread(file: Path, **options: object) -> Dataset:
    """Read a DICOM file, also one that starts without the preamble."""
    with file.open("rb") as stream:
        start = stream.read(132)
    if start[128:] == b"DICM":
        return pydicom.dcmread(file, **options)  # type: ignore[arg-type]
    # Old exports start with the first element of group 2 or 8 straight away.
    if start[:2] not in (b"\x02\x00", b"\x08\x00") or len(start) < 132:
        raise InvalidDicomError
    dataset = pydicom.dcmread(file, force=True, **options)  # type: ignore[arg-type]
    if "SOPClassUID" not in dataset:
        raise InvalidDicomError
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _why_no_slice(header: Dataset) -> str:
    """Say why a DICOM object is no CT slice; empty where it is one."""
    sop_class = UID(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""))
    image_type = [str(value).upper() for value in header.get("ImageType") or []]
    if sop_class in _OTHER_OBJECTS:
        return _OTHER_OBJECTS[sop_class]
    if header.get("Modality") == "SR":
        return "a structured report (SR)"
    # Some anonymisers empty the SOP class: an image of modality CT is then taken for what it says.
    if sop_class != CTImageStorage and (sop_class or header.get("Modality") != "CT"):
        return f"no CT image: {sop_class.name or 'unknown kind'}, modality {header.get('Modality') or 'unknown'}"
    if not header.get("Rows") or not header.get("Columns"):
        return "damaged: its header gives no image size"
    if "LOCALIZER" in image_type:
        return "a localiser"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return "several frames in one CT image (export it as classic single-slice CT)"
    if int(header.get("SamplesPerPixel") or 1) > 1:
        return "a colour image"
    if header.get("RescaleType", "HU") not in ("HU", "US", "", None):
        return f"its values are {header.RescaleType}, not Hounsfield units"
    return ""


def _entry(members: list[tuple[Path, _Header]], root: Path) -> ScanEntry:
    """Describe one series."""
    header = members[0][1]
    name = header.description or (f"series {header.number}" if header.number else root.name)
    date = header.date
    note = f"{len(members)} slices of {header.size}"
    note += f", {date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else ""
    files = tuple(sorted(file for file, _ in members))
    folder = Path(os.path.commonpath([file.parent for file in files]))
    return ScanEntry(name, "dicom", folder, len(files), note, files)


def read_dicom(entry: ScanEntry) -> CTVolume:
    """Read one series.

    Raises
    ------
    ScanError
        If a file is damaged or lacks what CT images must have.
    GeometryError
        If the slices do not form one regular grid.
    UnsupportedScanError
        If the values cannot be Hounsfield units.
    """
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(_read_slice, entry.files))
    first = read[0]
    stack = stack_slices(
        [one.slice for one in read],
        source=entry.path,
        single_spacing=first.thickness,
        said=tuple(dict.fromkeys(sentence for one in read for sentence in one.said)),
    )
    check_hu(stack.hu, entry.path)
    return to_volume(
        stack,
        source=entry.path,
        name=entry.name,
        series_uid=first.series_uid,
        thickness=first.thickness,
        window=first.window,
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """One slice, what its header says of the series, and what was corrected."""

    slice: Slice
    series_uid: str
    thickness: float | None
    window: tuple[float, float] | None
    said: list[str]


def _read_slice(file: Path) -> _Read:
    """Read one file."""
    try:
        dataset = _dcmread(file)
        if dataset.file_meta.TransferSyntaxUID in (JPEGLSLossless, JPEGLSNearLossless):
            # The first decoder pydicom would take, libjpeg, can hang for ever on a damaged stream.
            dataset.pixel_array_options(decoding_plugin="pyjpegls")
        hu, said = _to_hu(dataset.pixel_array, dataset, file)
        number = dataset.get("InstanceNumber")
        one = Slice(
            hu=hu,
            position=_numbers(dataset, "ImagePositionPatient", 3, file),
            orientation=_numbers(dataset, "ImageOrientationPatient", 6, file),
            spacing=tuple(_numbers(dataset, "PixelSpacing", 2, file).tolist()),
            number=None if number is None else int(number),
            file=file,
        )
        thickness = _number(dataset.get("SliceThickness"))
        return _Read(
            slice=one,
            series_uid=str(dataset.get("SeriesInstanceUID") or ""),
            thickness=thickness if thickness and thickness > 0 else None,
            window=_window(dataset),
            said=said,
        )
    except (InvalidDicomError, *_DAMAGED) as error:
        raise ScanError(
            f"{file}: the slice cannot be read ({error}); it may be damaged or cut short: copy or export it again"
        ) from error


def _numbers(dataset: Dataset, tag: str, count: int, file: Path) -> np.ndarray:
    """Give the finite numbers of an element that must have `count` of them."""
    element = dataset.get(tag)
    values = np.zeros(0) if element is None else np.array(element, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise GeometryError(
            f"{file}: {tag} is {element}, {count} finite numbers required; export the series again with its geometry"
        )
    return values


def _to_hu(pixels: np.ndarray, dataset: Dataset, file: Path) -> tuple[np.ndarray, list[str]]:
    """Rescale stored pixels to int16 HU, padding to air or below."""
    if pixels.ndim != 2:
        raise UnsupportedScanError(f"{file}: pixels of shape {pixels.shape}, one grey slice required; export it as CT")
    said = []
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None or intercept is None:
        said.append("rescale slope or intercept is absent: 1 and 0 taken, so values may not be Hounsfield units")
    slope, intercept = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise ScanError(
            f"{file}: rescale slope {slope}, intercept {intercept}; finite and not 0 required: export again"
        )
    if slope == 1 and intercept.is_integer():
        hu = pixels.astype(np.int32) + np.int32(intercept)
    else:
        hu = np.rint(pixels * np.float64(slope) + intercept)
    padding = _padding(pixels, dataset)
    if padding is not None and (raised := padding & (hu > AIR_HU)).any():
        hu[raised] = AIR_HU
        said.append(f"padding outside the field of view set to {AIR_HU} HU")
    limits = np.iinfo(np.int16)
    if hu.min() < limits.min or hu.max() > limits.max:
        said.append("values beyond the 16-bit range clipped")
        hu = np.clip(hu, limits.min, limits.max)
    return hu.astype(np.int16), said


def _padding(pixels: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Mark the padded pixels, or None where the header tells of none."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    # Some writers give -2000 as 63536: wrapping to the pixels' type mends it.
    ends = np.array([value, value if limit is None else limit], dtype=np.int64).astype(pixels.dtype)
    return (pixels >= ends.min()) & (pixels <= ends.max())


def _number(value: object) -> float | None:
    """Give the first number of an element, or None where there is no finite one."""
    first = value[0] if isinstance(value, MultiValue) and value else value
    try:
        number = float(str(first))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """Give the first window (low, high) HU of a header, or None."""
    centre, width = _number(dataset.get("WindowCenter")), _number(dataset.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    return centre - width / 2, centre + width / 2
