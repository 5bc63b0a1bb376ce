"""What one CT image's header says: a file's, or one frame's of a multi-frame file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from napari_uld.ct.dicom_files import (
    DAMAGED,
    MULTI_FRAME,
    Header,
    is_nameless_ct,
    read_file,
    sop_class,
    why_damaged,
    why_no_image,
    why_no_slice,
)
from napari_uld.ct.dicom_headers import PlainHeader, Start, asked_once, read_plain, tags_of
from napari_uld.ct.geometry import Slice
from napari_uld.errors import GeometryError, ScanError

NOT_DICOM = "not DICOM"
# What tells series apart where files have no SeriesInstanceUID.
TELL_APART = (
    "StudyInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ConvolutionKernel",
    "ImageOrientationPatient",
    "Rows",
    "Columns",
)
# What tells acquisitions, phases and reconstructions of one series apart, the most telling first, and what a
# person reads of it.
MARKS: Mapping[str, str] = {
    "PatientID": "patient",
    "StudyInstanceUID": "study",
    "StackID": "stack",
    "AcquisitionNumber": "acquisition",
    "TemporalPositionIndex": "time point",
    "TemporalPositionIdentifier": "time point",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
    "SeriesNumber": "series",
    "SeriesDescription": "",
    "ContrastBolusAgent": "contrast",
    "ImageType": "",
    "ConvolutionKernel": "kernel",
    "KVP": "kV",
    "SliceThickness": "thickness",
    "AcquisitionDateTime": "taken",
    "AcquisitionTime": "taken",
    "SeriesTime": "series of",
    "ContentTime": "made",
}
_HEADER_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "InstanceNumber", "SamplesPerPixel"),
    *("NumberOfFrames", "RescaleType", "SeriesDate", "StudyDate", "ImagePositionPatient", "PixelSpacing"),
    "FrameOfReferenceUID",
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *TELL_APART, *MARKS),
]
# What reading the pixels asks for besides, where one image is all that a file holds.
_PLAIN_TAGS = tags_of(
    (
        *_HEADER_TAGS,
        *("BitsAllocated", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"),
        *("RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelPaddingRangeLimit"),
        *("WindowCenter", "WindowWidth"),
    )
)
# The macros of functional groups, and what a classic image calls what they hold.
_MACROS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "FrameContentSequence"),
    *(
        "PixelValueTransformationSequence",
        "FrameVOILUTSequence",
        "CTReconstructionSequence",
        "CardiacSynchronizationSequence",
    ),
    *("CTXRayDetailsSequence", "CTImageFrameTypeSequence"),
)
_CLASSIC_NAMES = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
}


@dataclass(frozen=True, eq=False)
class Image:
    """One CT image as its header tells of it.

    Parameters
    ----------
    file, frame
        Where it is; the frame is None in a file of one image.
    series
        What tells which series it belongs to.
    uid
        Its SOPInstanceUID, with the frame.
    marks
        Text of each of `MARKS` and the folder.
    place
        Its geometry, with pixels that are all 0, or None where the header has none.
    number, description, date, size
        What a person calls it.
    header
        What reading its pixels can go by, where its file is plain.
    """

    file: Path
    frame: int | None
    series: tuple[str, ...]
    uid: str
    marks: Mapping[str, str]
    place: Slice | None
    number: str
    description: str
    date: str
    size: str
    header: PlainHeader | None


@dataclass(frozen=True)
class NoImage:
    """Why a file holds no CT image, whether it may have held one before it was damaged, and the series it names."""

    reason: str
    damaged: bool = False
    series: str = ""


def images_in(stream: FileIO, start: Start, file: Path) -> list[Image] | NoImage:
    """Read the headers of the images that a file holds, or say why it holds none.

    Parameters
    ----------
    stream
        The file, where `start` ends.
    start
        How it begins.
    file
        What it is called.
    """
    try:
        header: Header = read_plain(stream, _PLAIN_TAGS, start) or read_file(
            BufferedReader(stream), specific_tags=_HEADER_TAGS, stop_before_pixels=True
        )
        nothing = _nothing_in(header)
        if nothing:
            return nothing
        frames = classic_images(header) if isinstance(header, Dataset) else [(None, header)]
        found = {frame: (one, _why_no_slice(one)) for frame, one in frames}
        slices = [_image(one, file, frame) for frame, (one, reason) in found.items() if not reason]
        if slices:
            return slices
        return NoImage(next(reason for _, reason in found.values()), series=_series_of(header))
    except InvalidDicomError:
        return NoImage(NOT_DICOM)
    except DAMAGED as error:
        return unreadable(error)


def unreadable(error: Exception) -> NoImage:
    """Say of a file that reading it failed."""
    return NoImage(f"damaged or cut short ({str(error) or type(error).__name__})", damaged=True)


@asked_once
def _nothing_in(header: Header) -> NoImage | None:
    """Say why a file holds no CT image, whatever its frames are; None where it may hold one."""
    damage = why_damaged(header)
    if damage:
        return NoImage(damage, damaged=True)
    reason = why_no_image(header)
    return NoImage(reason, damaged=is_nameless_ct(header), series=_series_of(header)) if reason else None


_why_no_slice = asked_once(why_no_slice)


def _series_of(header: Header) -> str:
    # What has no rows (a report) was never a slice, whatever series it names.
    return str(header.get("SeriesInstanceUID") or "") if header.get("Rows") else ""


def classic_images(dataset: Dataset) -> Iterator[tuple[int | None, Dataset]]:
    """Give each frame of a multi-frame file as the header of a classic image; a classic image gives itself.

    Raises
    ------
    ValueError
        If the file has not one item of functional groups a frame.
    """
    if sop_class(dataset) not in MULTI_FRAME:
        yield None, dataset
        return
    frames = dataset.PerFrameFunctionalGroupsSequence
    if len(frames) != int(dataset.get("NumberOfFrames") or 0):
        raise ValueError(f"{len(frames)} items of functional groups for {dataset.get('NumberOfFrames')} frames")
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    left_out = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelData", "InstanceNumber")
    common = Dataset()
    for element in dataset:
        if element.keyword not in left_out:
            common.add(element)
    _add_macros(common, shared[0])
    for index, groups in enumerate(frames):
        one = Dataset()
        one.update(common)
        _add_macros(one, groups)
        one.InstanceNumber = index + 1
        yield index, one


def _add_macros(header: Dataset, groups: Dataset) -> None:
    """Copy what functional groups hold to where a classic image has it."""
    for macro in _MACROS:
        for element in (groups.get(macro) or [Dataset()])[0]:
            if element.keyword and element.VR != "SQ":
                setattr(header, _CLASSIC_NAMES.get(element.keyword, element.keyword), element.value)


class _Common(NamedTuple):
    """What images may have in common, as in `Image`; among its marks, what is one slice's own is lacking."""

    series: tuple[str, ...]
    marks: Mapping[str, str]
    number: str
    description: str
    date: str
    size: str


@asked_once
def _common(header: Header) -> _Common:
    uid = str(header.get("SeriesInstanceUID") or "")
    if isinstance(header, Dataset):
        # Asking it for what it lacks is slow: most have few of the marks.
        there = {element.keyword: element.value for element in header if element.keyword in MARKS}
    else:
        there = {mark: header.get(mark) for mark in MARKS}
    return _Common(
        series=(uid,) if uid else ("", *(str(header.get(tag, "")) for tag in TELL_APART)),
        marks={tag: _text(there.get(tag)) for tag in MARKS},
        number=str(header.get("SeriesNumber") or ""),
        description=str(header.get("SeriesDescription") or "").strip(),
        date=str(header.get("SeriesDate") or header.get("StudyDate") or ""),
        size=f"{header.get('Columns')} x {header.get('Rows')}",
    )


def _image(header: Header, file: Path, frame: int | None) -> Image:
    common, own = _common(header), _own(header)
    marks = {**common.marks, "folder": str(file.parent)}
    marks.update((mark, own[mark]) for mark in own if mark in MARKS)
    uid = own.get("SOPInstanceUID") or header.get("SOPInstanceUID") or file
    return Image(
        file=file,
        frame=frame,
        series=common.series,
        uid=f"{uid} {frame}",
        marks=marks,
        place=_place_or_none(header, file),
        number=common.number,
        description=common.description,
        date=common.date,
        size=common.size,
        header=header if isinstance(header, PlainHeader) else None,
    )


def _own(header: Header) -> Mapping[str, str]:
    """Give text of what is a plain file's own."""
    return header.own if isinstance(header, PlainHeader) else {}


def _text(value: object) -> str:
    """Give an element as text that is the same for what means the same."""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value).strip()


def _place_or_none(header: Header, file: Path) -> Slice | None:
    try:
        return slice_of(header, file, no_pixels(header))
    except (ScanError, *DAMAGED):
        return None


@asked_once
def no_pixels(header: Header) -> np.ndarray:
    """Give an image of the header's size (rows, columns) whose pixels are all 0; it takes no memory."""
    return np.broadcast_to(np.int16(0), (int(header.get("Rows")), int(header.get("Columns"))))


def slice_of(header: Header, file: Path, hu: np.ndarray) -> Slice:
    """Give an image its place.

    Raises
    ------
    GeometryError
        If the header lacks position, orientation or pixel spacing.
    """
    number = _own(header).get("InstanceNumber") or header.get("InstanceNumber")
    return Slice(
        hu=hu,
        position=_numbers(header, "ImagePositionPatient", 3, file),
        orientation=_numbers(header, "ImageOrientationPatient", 6, file),
        spacing=tuple(_numbers(header, "PixelSpacing", 2, file).tolist()),
        number=None if number is None else int(number),
        file=file,
    )


def _numbers(header: Header, tag: str, count: int, file: Path) -> np.ndarray:
    """Give the finite numbers of an element that must have `count` of them."""
    values = header.position if isinstance(header, PlainHeader) and tag in header.own else _finite(header, tag)
    if values is None or values.shape != (count,):
        raise GeometryError(
            f"{file}: {tag} is {header.get(tag)}, {count} finite numbers required; export the series again with its "
            "geometry"
        )
    return values


@asked_once
def _finite(header: Header, tag: str) -> np.ndarray | None:
    element = header.get(tag)
    values = np.zeros(0) if element is None else np.array(element, dtype=np.float64)
    values.setflags(write=False)  # several slices may share them
    return values if np.isfinite(values).all() else None


def _first_number(value: object) -> float | None:
    """Give the first number of an element, or None where there is no finite one."""
    first = value[0] if isinstance(value, MultiValue) and value else value
    try:
        number = float(str(first))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


@asked_once
def thickness_of(header: Header) -> float | None:
    """Give the nominal slice thickness (mm) of a header, or None."""
    thickness = _first_number(header.get("SliceThickness"))
    return thickness if thickness and thickness > 0 else None


@asked_once
def window_of(header: Header) -> tuple[float, float] | None:
    """Give the first window (low, high) HU of a header, or None."""
    centre, width = _first_number(header.get("WindowCenter")), _first_number(header.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    return centre - width / 2, centre + width / 2
