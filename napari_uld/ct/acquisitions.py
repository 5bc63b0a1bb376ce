"""Which images make one scan: acquisitions under one series are told apart, slices of one scan put together.

What splits a series is whatever makes regular grids of it: a patient, an acquisition, a phase, a
reconstruction, a folder, or the order in which the images were taken. Where parts follow each other
along the patient as one regular grid, they are one scan.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from napari_uld.ct.dicom_images import MARKS, Image
from napari_uld.ct.geometry import SAME_POSITION, Slice, why_irregular
from napari_uld.errors import GeometryError, MissingSlicesError

# Fewer slices than this are no acquisition of their own.
FEWEST = 2
# Where all slices together are one even grid too, or only their order tells: more evidence is needed.
FEWEST_IN_EVEN_SERIES = 3
# These are never one scan, however well their slices fit.
_APART = ("PatientID",)


@dataclass(frozen=True)
class Part:
    """The images of one scan, and what tells it from the others of its series ("acquisition 2", or nothing)."""

    images: tuple[Image, ...]
    label: str = ""


def split(images: Sequence[Image]) -> list[Part]:
    """Tell apart the acquisitions, phases and reconstructions of one series.

    Parameters
    ----------
    images
        All images of a series.

    Returns
    -------
    One part where it is one scan, or nothing tells its parts apart.
    """
    groups, twins = _without_twins(images)
    if any(image.place is None for image in groups):
        return [Part(tuple(images))]
    candidates = list(_candidates(groups))
    if not candidates:
        return [Part(tuple(images))]
    whole = _irregularity(groups)
    # First what makes every part regular; else what at least leaves no two slices in one place.
    for good in (_all_regular,) if whole is None else (_all_regular, _some_regular):
        for label, parts in candidates:
            if good(parts) and _belong_apart(label, parts, whole):
                return [
                    Part(tuple(image for one in part for image in (one, *twins.get(id(one), ()))), name)
                    for part, name in zip(parts, _labels(label, parts), strict=True)
                ]
    return [Part(tuple(images))]


def _without_twins(images: Sequence[Image]) -> tuple[list[Image], dict[int, list[Image]]]:
    """Set aside copies of images; they go with the image they are copies of."""
    kept: dict[str, Image] = {}
    twins: dict[int, list[Image]] = {}
    singles = []
    for image in images:
        first = kept.setdefault(image.uid, image)
        if first is image:
            singles.append(image)
        elif _same_but_folder(image, first):
            twins.setdefault(id(first), []).append(image)
        else:
            singles.append(image)
    return singles, twins


def _same_but_folder(one: Image, other: Image) -> bool:
    if one.place is None or other.place is None:
        return one.place is other.place
    same = all(one.marks[mark] == other.marks[mark] for mark in MARKS)
    return same and float(np.abs(one.place.position - other.place.position).max()) <= SAME_POSITION


Groups = list[list[Image]]


def _candidates(images: Sequence[Image]) -> Iterable[tuple[str, Groups]]:
    """Give each way to divide a series: by a mark, by all marks that divide it, by the order of its images."""
    keys: dict[str, Callable[[Image], object]] = {mark: _mark(mark) for mark in (*MARKS, "folder")}
    keys |= {"size": lambda image: image.size, "orientation": _orientation, "spacing": _spacing}
    dividing = {}
    for name, key in keys.items():
        if len(set(map(key, images))) == 1:  # as most are
            continue
        groups = _grouped(images, key)
        if len(groups) > 1 and min(map(len, groups)) >= FEWEST:
            dividing[name] = key
            yield name, groups
    if len(dividing) > 1:
        groups = _grouped(images, lambda image: tuple(key(image) for key in dividing.values()))
        if min(map(len, groups)) >= FEWEST:
            yield next(iter(dividing)), groups
    for name, order in (("images", _time), ("images", _number), ("files", _name)):
        groups = _runs(images, order)
        if len(groups) > 1 and min(map(len, groups)) >= FEWEST_IN_EVEN_SERIES:
            yield name, groups


def _mark(mark: str) -> Callable[[Image], object]:
    return lambda image: image.marks[mark]


def _orientation(image: Image) -> object:
    return None if image.place is None else _rounded(tuple(image.place.orientation.tolist()), 2)


def _spacing(image: Image) -> object:
    return None if image.place is None else _rounded(image.place.spacing, 3)


@lru_cache
def _rounded(numbers: tuple[float, ...], decimals: int) -> tuple[float, ...]:
    return tuple((np.round(numbers, decimals) + 0.0).tolist())


def _time(image: Image) -> str:
    return image.marks["AcquisitionDateTime"] or image.marks["AcquisitionTime"] or image.marks["ContentTime"]


def _number(image: Image) -> int | None:
    return None if image.place is None else image.place.number


def _name(image: Image) -> tuple[tuple[int, str], ...]:
    """Give the file's name, in which 10 comes after 9."""
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", image.file.name))


def _grouped(images: Sequence[Image], key: Callable[[Image], object]) -> Groups:
    groups: dict[object, list[Image]] = {}
    for image in images:
        groups.setdefault(key(image), []).append(image)
    return list(groups.values())


def _runs(images: Sequence[Image], order: Callable[[Image], object]) -> Groups:
    """Divide images, in the order of time or number, where their position turns back or stands still."""
    keys = [order(image) for image in images]
    if None in keys or "" in keys or len(set(keys)) < len(keys):
        return [list(images)]
    places = _along(images)
    sequence = sorted(range(len(images)), key=lambda i: keys[i])  # type: ignore[arg-type, return-value]
    groups, direction = [[images[sequence[0]]]], 0
    for before, now in pairwise(sequence):
        step = places[now] - places[before]
        sign = (step > 0) - (step < 0) if abs(step) > SAME_POSITION else 0
        if sign == 0 or sign == -direction:
            groups.append([])
            direction = 0
        else:
            direction = sign
        groups[-1].append(images[now])
    return groups


def _places(images: Iterable[Image]) -> list[Slice]:
    return [image.place for image in images if image.place is not None]


def _along(images: Sequence[Image]) -> list[float]:
    """Give each image's distance along the first one's normal (mm)."""
    places = _places(images)
    normal = np.cross(places[0].orientation[:3], places[0].orientation[3:]) if places else np.zeros(3)
    return [float(place.position @ normal) for place in places]


def _irregularity(images: Sequence[Image]) -> GeometryError | None:
    return why_irregular(_places(images), images[0].file.parent)


def _all_regular(parts: Groups) -> bool:
    return all(_irregularity(part) is None for part in parts)


def _some_regular(parts: Groups) -> bool:
    """Tell whether a part is regular, and the others at least have one slice at each position."""
    reasons = [_irregularity(part) for part in parts]
    return None in reasons and all(reason is None or isinstance(reason, MissingSlicesError) for reason in reasons)


def _belong_apart(mark: str, parts: Groups, whole: GeometryError | None) -> bool:
    """Tell whether parts are scans of their own, and not stretches of one."""
    if mark in _APART:
        return True
    if whole is None and (mark == "files" or min(map(len, parts)) < FEWEST_IN_EVEN_SERIES):
        return False
    if len({_orientation(image) for part in parts for image in part}) > 1:
        return whole is not None
    spans = sorted((min(places), max(places), i) for i, places in enumerate(_parts_along(parts)))
    if any(after[0] < before[1] + SAME_POSITION for before, after in pairwise(spans)):
        return True
    # One after the other: of one scan if any two fit together, and if what lies between them is only missing.
    return whole is not None and all(
        _do_not_join(parts[before[2]], parts[after[2]]) for before, after in pairwise(spans)
    )


def _parts_along(parts: Groups) -> list[list[float]]:
    """Give the distances of all images along one normal, part by part."""
    along = iter(_along([image for part in parts for image in part]))
    return [[next(along) for _ in part] for part in parts]


def _do_not_join(one: list[Image], other: list[Image]) -> bool:
    """Tell whether two stretches are not one, not even with slices missing between them."""
    reason = _irregularity([*one, *other])
    if not isinstance(reason, MissingSlicesError):
        return reason is not None
    # Where the images are numbered on across the gap, or anew, nothing is missing.
    numbers = [{place.number for place in _places(part)} for part in (one, other)]
    if None in numbers[0] | numbers[1]:
        return False
    (first, second) = sorted((min(some), max(some)) for some in numbers)  # type: ignore[type-var]
    return second[0] <= first[1] + 1  # type: ignore[operator]


def _labels(mark: str, parts: Groups) -> list[str]:
    """Name each part by what tells it from the others."""
    if mark in ("images", "files"):
        return [_stretch(part) for part in parts]
    firsts = [part[0] for part in parts]
    if mark == "folder":
        names = [image.file.parent.name for image in firsts]
        return [f"folder {name}" for name in (names if len(set(names)) == len(names) else map(_folder, firsts))]
    if mark in _SHAPES:
        return [_SHAPES[mark](image) for image in firsts]
    return [f"{MARKS[mark]} {_readable(mark, image.marks[mark])}".strip() for image in firsts]


def _folder(image: Image) -> str:
    return str(image.file.parent)


def _stretch(part: list[Image]) -> str:
    """Name a part by the numbers, or else the files, it runs from and to."""
    numbers = {place.number for place in _places(part) if place.number is not None}
    if len(numbers) == len(part):
        return f"images {min(numbers)} to {max(numbers)}"
    files = sorted(part, key=_name)
    return f"files {files[0].file.name} to {files[-1].file.name}"


def _readable(mark: str, value: str) -> str:
    """Write times as a clock shows them."""
    clock = value[8:14] if mark.endswith("DateTime") else value[:6]
    if mark.endswith("Time") and len(clock) == 6 and clock.isdigit():
        return f"{clock[:2]}:{clock[2:4]}:{clock[4:]}"
    return value or "none"


def _plane(image: Image) -> str:
    """Name the plane an image lies in."""
    if image.place is None:
        return ""
    normal = np.abs(np.cross(image.place.orientation[:3], image.place.orientation[3:]))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


_SHAPES: dict[str, Callable[[Image], str]] = {
    "size": lambda image: image.size,
    "orientation": _plane,
    "spacing": lambda image: (
        f"pixels of {' x '.join(f'{mm:g}' for mm in image.place.spacing)} mm" if image.place else ""
    ),
}


def join(series: Sequence[Sequence[Image]]) -> tuple[list[list[Image]], dict[int, str]]:
    """Put together single images that an anonymiser gave a SeriesInstanceUID each.

    Parameters
    ----------
    series
        Images of each SeriesInstanceUID.

    Returns
    -------
    series
        The same, single images of one folder joined where they are one series in all but their UID.
    said
        By place in ``series``: what a person must know of those that were joined, or why they were not, and of
        images that may belong to others.
    """
    joined = [list(one) for one in series if len(one) > 1]
    singles = [one[0] for one in series if len(one) == 1]
    said = _strays(joined, singles)
    for group in _families(singles):
        if len(group) < FEWEST_IN_EVEN_SERIES:
            joined += [[image] for image in group]
            continue
        ids = f"each of {len(group)} images of one folder has a SeriesInstanceUID of its own"
        reason = next((why for why in map(_irregularity, (part.images for part in split(group))) if why), None)
        if reason is None and all(image.place is not None for image in group):
            said[len(joined)] = f"{ids}: they form even grids and are taken for one series"
            joined.append(group)
            continue
        why = str(reason).split(": ", 1)[-1] if reason else "their headers give no position"
        for image in group:
            said[len(joined)] = f"{ids}; they were not put together, since {why}"
            joined.append([image])
    return joined, said


def _strays(series: Sequence[list[Image]], singles: Sequence[Image]) -> dict[int, str]:
    """Say of which series a single image may be a slice in spite of its SeriesInstanceUID, as after damage."""
    found: dict[int, list[str]] = {}
    kinships = [_kinship(images[0], ("StudyInstanceUID",)) for images in series]
    for image in singles:
        kinship = _kinship(image, ("StudyInstanceUID",))
        for place, images in enumerate(series):
            no_uid = not image.series[0] and bool(images[0].series[0])
            alike = image.size == images[0].size and image.marks["folder"] == images[0].marks["folder"]
            lost = alike and (image.place is None or no_uid)
            if lost or (kinship == kinships[place] and _irregularity([*images, image]) is None):
                found.setdefault(place, []).append(image.file.name)
    return {
        place: f"{', '.join(names)} beside it may be part of this scan: its SeriesInstanceUID is another or none, "
        "but it lies where a slice is due, or its header is not whole; copy or export it again"
        for place, names in found.items()
    }


def _families(singles: list[Image]) -> Groups:
    """Group single images that share all that images of one series share, whatever their UID says."""
    families: Groups = []
    # Some anonymisers give every file a study or patient of its own as well.
    for own in ((), ("StudyInstanceUID",), ("PatientID",), ("StudyInstanceUID", "PatientID")):
        left: list[Image] = []
        for group in _grouped(singles, lambda image, own=own: _kinship(image, own)):  # type: ignore[misc]
            unique = all(len({image.marks[mark] for image in group}) == len(group) for mark in own)
            if unique and len(group) >= FEWEST_IN_EVEN_SERIES and group[0].frame is None and group[0].series[0]:
                families.append(group)
            else:
                left += group
        singles = left
    return [*families, *([image] for image in singles)]


def _kinship(image: Image, own: tuple[str, ...]) -> object:
    shared = ("folder", "SeriesNumber", "SeriesDescription", "ConvolutionKernel", "StudyInstanceUID", "PatientID")
    marks = tuple(image.marks[mark] for mark in shared if mark not in own)
    return (image.size, _orientation(image), _spacing(image), marks)
