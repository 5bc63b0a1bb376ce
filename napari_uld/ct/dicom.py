"""CT series in DICOM files: found by their headers, told apart by series and acquisition."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from napari_uld.ct.acquisitions import Part, join, split
from napari_uld.ct.dicom_files import LOCALISER
from napari_uld.ct.dicom_images import NOT_DICOM, Image, NoImage
from napari_uld.ct.entries import ScanEntry, group_by_reason


def find_dicom(looked_at: Mapping[Path, list[Image] | NoImage], root: Path) -> tuple[list[ScanEntry], dict[Path, str]]:
    """Group the CT images of files by series and acquisition.

    Parameters
    ----------
    looked_at
        What `images_in` found in each.
    root
        Where they were looked for.

    Returns
    -------
    entries
        One a scan, named by its series' description and what tells it from others of the series (not yet unique).
    left_out
        Why each other file holds no CT image.
    """
    series: dict[tuple[str, ...], list[Image]] = {}
    no_images: dict[Path, NoImage] = {}
    for file, found in looked_at.items():
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
    return [_told(entry, damaged) for entry in entries] if damaged else entries, left_out


def _entry(part: Part, root: Path, said: str, one_uid: bool) -> ScanEntry:
    """Describe one scan."""
    first = part.images[0]
    name = first.description or (f"series {first.number}" if first.number else root.name)
    date = first.date
    note = f"{len(part.images)} slice{'' if len(part.images) == 1 else 's'} of {first.size}"
    note += f", {date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else ""
    files = tuple(sorted(dict.fromkeys(image.file for image in part.images)))
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
        headers={image.file: image.header for image in part.images if image.header is not None},
    )


def _slices_among(no_images: dict[Path, NoImage], entries: Sequence[ScanEntry]) -> dict[Path, str]:
    """Give the files that may have been slices of a scan before they were damaged, and why they are none now."""
    if not no_images:
        return {}
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
