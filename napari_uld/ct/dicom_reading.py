"""CT series in DICOM files: read into Hounsfield units, and checked as a whole."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.errors import InvalidDicomError
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from napari_uld.ct.dicom_files import DAMAGED, Header, read_file, why_no_slice
from napari_uld.ct.dicom_headers import PlainHeader, read_pixels
from napari_uld.ct.dicom_hu import ReadSlice, check_rescales, notes_of, read_slice
from napari_uld.ct.dicom_images import classic_images, first_number, no_pixels, slice_of, window_of
from napari_uld.ct.dicom_streams import check_elements, check_pixel_data
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.geometry import room_for, stack_slices, to_volume, why_irregular
from napari_uld.ct.plausibility import check_hu
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import AIR_HU
from napari_uld.errors import GeometryError, MissingSlicesError, ScanError


def read_dicom(entry: ScanEntry) -> CTVolume:
    """Read one scan.

    Raises
    ------
    ScanError
        If a file is damaged or lacks what CT images must have.
    GeometryError
        If the slices do not form one regular grid.
    UnsupportedScanError
        If the values cannot be Hounsfield units.
    """
    wanted: dict[Path, list[int]] = {}
    for file, frame in entry.frames:
        wanted.setdefault(file, []).append(frame)
    room, places = _room_of(entry)
    with ThreadPoolExecutor() as pool:
        read = list(
            pool.map(
                lambda file: _read_file(file, wanted.get(file), entry.headers.get(file), places.get(file)), entry.files
            )
        )
    return _volume(entry, read, room)


def _room_of(entry: ScanEntry) -> tuple[np.ndarray | None, dict[Path, np.ndarray]]:
    """Make room for the slices and give each file its place; none where headers alone do not tell it."""
    if any(file not in entry.headers for file in entry.files):
        return None, {}
    try:
        slices = [slice_of(header, file, no_pixels(header)) for file, header in entry.headers.items()]
    except (GeometryError, *DAMAGED):
        return None, {}
    slices.sort(key=lambda one: one.file)
    if why_irregular(slices, entry.path):
        return None, {}
    row, column = slices[0].orientation[:3], slices[0].orientation[3:]
    direction = np.stack([row, column, np.cross(row, column)], axis=1)
    slices.sort(key=lambda one: float(one.position @ direction[:, 2]))
    room = room_for(direction, (len(slices), *slices[0].hu.shape), AIR_HU)
    return room, {one.file: place for one, place in zip(slices, room, strict=True)}


def _volume(entry: ScanEntry, read: Sequence["_ReadFile"], room: np.ndarray | None) -> CTVolume:
    """Put the slices together and check them as a whole."""
    slices = [one for file in read for one in file.slices]
    check_rescales(slices, entry.path)
    first = read[0]
    try:
        stack = stack_slices(
            [one.slice for one in slices],
            source=entry.path,
            single_spacing=first.thickness,
            said=(*entry.said, *notes_of(slices)),
            room=room,
        )
    except MissingSlicesError as error:
        raise MissingSlicesError("; ".join((str(error), *entry.said))) from error
    check_hu(stack.hu, entry.path)
    return to_volume(
        stack,
        source=entry.path,
        name=entry.name,
        series_uid=" ".join(filter(None, (entry.series_uid, entry.label))) if entry.series_uid else "",
        thickness=first.thickness,
        window=first.window,
    )


@dataclass(frozen=True, eq=False)
class _ReadFile:
    """The slices of one file, and what its header says of the scan."""

    slices: list[ReadSlice]
    thickness: float | None
    window: tuple[float, float] | None


def _read_file(
    file: Path, wanted: Sequence[int] | None, known: PlainHeader | None, room: np.ndarray | None
) -> _ReadFile:
    """Read one file, or the wanted frames of it; a single image goes into its room."""
    try:
        pixels = None if known is None else read_pixels(file, known)
        if known is not None and pixels is not None:
            return _made_of([pixels], [known], file, (), room)
        with file.open("rb") as stream:
            dataset = read_file(stream)
            ignored = [*check_elements(dataset, stream, file), *check_pixel_data(dataset, file)]
        if dataset.file_meta.TransferSyntaxUID in (JPEGLSLossless, JPEGLSNearLossless):
            # The first decoder pydicom would take, libjpeg, can hang for ever on a damaged stream.
            dataset.pixel_array_options(decoding_plugin="pyjpegls")
        pixels = dataset.pixel_array
        every = dict(classic_images(dataset))
        headers = [header for frame, header in every.items() if wanted is None or frame in wanted]
        left_out = Counter(filter(None, map(why_no_slice, every.values())))
        ignored += [f"{count} frame(s) of the file left out: {reason}" for reason, count in left_out.items()]
        # A single frame comes without an axis of frames.
        images = [pixels] if wanted is None else [pixels.reshape(-1, *pixels.shape[-2:])[frame] for frame in wanted]
        return _made_of(images, headers, file, ignored, room)
    except (InvalidDicomError, *DAMAGED) as error:
        raise ScanError(
            f"{file}: the slice cannot be read ({error}); it may be damaged or cut short: copy or export it again"
        ) from error


def _made_of(
    images: Sequence[np.ndarray],
    headers: Sequence[Header],
    file: Path,
    said: Sequence[str],
    room: np.ndarray | None,
) -> _ReadFile:
    """Rescale a file's images, and look up what its first header says of the scan."""
    thickness = first_number(headers[0].get("SliceThickness"))
    return _ReadFile(
        slices=[read_slice(*one, file, said, room) for one in zip(images, headers, strict=True)],
        thickness=thickness if thickness and thickness > 0 else None,
        window=window_of(headers[0]),
    )
