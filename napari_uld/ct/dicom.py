"""CT series in DICOM files: found by their headers, told apart by series, read into Hounsfield units."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.geometry import Slice, stack_slices, to_volume
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import GeometryError, ScanError, UnsupportedScanError

# Air, and what lies outside the field of view.
AIR_HU = -1024
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
_DAMAGED = (AttributeError, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError)


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
    """
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(_read_slice, entry.files))
    said = tuple(dict.fromkeys(note for _, _, notes in read for note in notes))
    first = read[0][1]
    thickness = _positive(first.get("SliceThickness"))
    stack = stack_slices([one for one, _, _ in read], source=entry.path, single_spacing=thickness, said=said)
    return to_volume(
        stack,
        source=entry.path,
        name=entry.name,
        series_uid=str(first.get("SeriesInstanceUID") or ""),
        thickness=thickness,
        window=_window(first),
    )


def _read_slice(file: Path) -> tuple[Slice, Dataset, list[str]]:
    """Read one file: its slice, its header without pixels, and what was corrected."""
    try:
        dataset = _dcmread(file)
        hu, said = _to_hu(dataset.pixel_array, dataset, file)
        del dataset.PixelData
        number = dataset.get("InstanceNumber")
        one = Slice(
            hu=hu,
            position=_numbers(dataset, "ImagePositionPatient", 3, file),
            orientation=_numbers(dataset, "ImageOrientationPatient", 6, file),
            spacing=tuple(_numbers(dataset, "PixelSpacing", 2, file).tolist()),
            number=None if number is None else int(number),
            file=file,
        )
    except (InvalidDicomError, *_DAMAGED) as error:
        raise ScanError(
            f"{file}: the slice cannot be read ({error}); it may be damaged or cut short: copy or export it again"
        ) from error
    return one, dataset, said


def _numbers(dataset: Dataset, tag: str, count: int, file: Path) -> np.ndarray:
    """Give the finite numbers of an element that must have `count` of them."""
    found = dataset.get(tag)
    values = np.zeros(0) if found is None else np.array(found, dtype=np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise GeometryError(
            f"{file}: {tag} is {found}, {count} finite numbers required; export the series again with its geometry"
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


def _positive(value: object) -> float | None:
    """Give a positive finite number, or None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) and number > 0 else None


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """Give the first window (low, high) HU of a header, or None."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    centres, widths = np.atleast_1d(np.array(centre, object)), np.atleast_1d(np.array(width, object))
    size = _positive(widths[0]) if widths.size else None
    if size is None or not centres.size or centres[0] is None:
        return None
    return float(centres[0]) - size / 2, float(centres[0]) + size / 2
