"""CT series in DICOM files: found by their headers, told apart by series and acquisition, read into HU."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from napari_uld.ct.acquisitions import Part, join, split
from napari_uld.ct.dicom_files import DAMAGED, LOCALISER, read_file, why_no_slice
from napari_uld.ct.dicom_hu import ReadSlice, check_rescales, notes_of, read_slice
from napari_uld.ct.dicom_images import (
    NOT_DICOM,
    Image,
    NoImage,
    classic_images,
    first_number,
    images_in,
    window_of,
)
from napari_uld.ct.dicom_streams import check_elements, check_pixel_data
from napari_uld.ct.entries import ScanEntry, group_by_reason
from napari_uld.ct.geometry import stack_slices, to_volume
from napari_uld.ct.plausibility import check_hu
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import MissingSlicesError, ScanError


def find_dicom(files: Sequence[Path], root: Path) -> tuple[list[ScanEntry], dict[Path, str]]:
    """Group the CT images among `files` by series and acquisition.

    Returns
    -------
    entries
        One a scan, named by its series' description and what tells it from others of the series (not yet unique).
    left_out
        Why each other file holds no CT image.
    """
    series: dict[tuple[str, ...], list[Image]] = {}
    no_images: dict[Path, NoImage] = {}
    with ThreadPoolExecutor() as pool:
        headers = pool.map(images_in, files)
    for file, found in zip(files, headers, strict=True):
        if isinstance(found, NoImage):
            no_images[file] = found
            continue
        for image in found:
            series.setdefault(image.series, []).append(image)
    joined, said = join(list(series.values()))
    entries = [
        _entry(part, root, said.get(place, ""), len({image.series for image in images}) == 1)
        for place, images in enumerate(joined)
        for part in split(images)
    ]
    damaged = _slices_among(no_images, entries)
    left_out = {file: damaged.get(file, found.reason) for file, found in no_images.items()}
    return [_told(entry, damaged) for entry in entries], left_out


def _entry(part: Part, root: Path, said: str, one_uid: bool) -> ScanEntry:
    """Describe one scan."""
    first = part.images[0]
    name = first.description or (f"series {first.number}" if first.number else root.name)
    date = first.date
    note = f"{len(part.images)} slices of {first.size}"
    note += f", {date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else ""
    files = tuple(sorted({image.file for image in part.images}))
    return ScanEntry(
        name=f"{name}, {part.label}" if part.label else name,
        kind="dicom",
        path=Path(os.path.commonpath([file.parent for file in files])),
        slices=len(part.images),
        note=note,
        files=files,
        frames=tuple(sorted((image.file, image.frame) for image in part.images if image.frame is not None)),
        label=part.label,
        series_uid=first.series[0] if one_uid else "",
        said=(said,) if said else (),
    )


def _slices_among(no_images: dict[Path, NoImage], entries: Sequence[ScanEntry]) -> dict[Path, str]:
    """Give the files that may have been slices of a scan before they were damaged, and why they are none now."""
    alike = {_likeness(file) for entry in entries for file in entry.files}
    series = {entry.series_uid for entry in entries if entry.series_uid}
    among = {}
    for file, found in no_images.items():
        # Localisers often share a scan's series; of other objects, none does.
        if found.damaged or (found.series in series and found.reason != LOCALISER):
            among[file] = found.reason
        elif found.reason == NOT_DICOM and _likeness(file) in alike:
            empty = not file.stat().st_size
            among[file] = "empty: 0 bytes" if empty else "not DICOM, though its name is like those of slices"
    return among


def _likeness(file: Path) -> tuple[Path, str]:
    """Give what names of one scan's slices share: the folder, and the suffix or all but the numbers."""
    is_suffix = file.suffix and not file.suffix[1:].isdigit()
    return file.parent, file.suffix if is_suffix else re.sub(r"\d+", "0", file.name)


def _told(entry: ScanEntry, damaged: dict[Path, str]) -> ScanEntry:
    """Have a scan say which damaged files beside its own it may lack."""
    folders = {file.parent for file in entry.files}
    beside = {file: reason for file, reason in damaged.items() if file.parent in folders}
    said = tuple(
        f"left out: {one}; it may be part of this scan, whose files lie beside it: copy or export it again"
        for one in group_by_reason(beside)
    )
    return replace(entry, said=(*entry.said, *said))


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
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(lambda file: _read_file(file, wanted.get(file)), entry.files))
    slices = [one for file in read for one in file.slices]
    check_rescales(slices, entry.path)
    first = read[0]
    try:
        stack = stack_slices(
            [one.slice for one in slices],
            source=entry.path,
            single_spacing=first.thickness,
            said=(*entry.said, *notes_of(slices)),
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


def _read_file(file: Path, wanted: Sequence[int] | None) -> _ReadFile:
    """Read one file, or the wanted frames of it."""
    try:
        dataset = read_file(file)
        ignored = [*check_elements(dataset, file), *check_pixel_data(dataset, file)]
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
        thickness = first_number(headers[0].get("SliceThickness"))
        return _ReadFile(
            slices=[read_slice(*one, file, ignored) for one in zip(images, headers, strict=True)],
            thickness=thickness if thickness and thickness > 0 else None,
            window=window_of(headers[0]),
        )
    except (InvalidDicomError, *DAMAGED) as error:
        raise ScanError(
            f"{file}: the slice cannot be read ({error}); it may be damaged or cut short: copy or export it again"
        ) from error
