"""Annotation files of one scan by several people, made one: what they agree on is kept, what they do not is asked.

Nothing is resolved in silence. A lesion about which people differ is pending in the merged file, and its comment has
what each of them says. That somebody lacks a lesion is no view of it: files do not tell whether they looked. Nor is a
lesion that is pending, has no type or no measurement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_uld.errors import AnnotationError, AnnotationFileError
from napari_uld.lesions.annotation_file import SUFFIX, AnnotationFile, read_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, State
from napari_uld.lesions.boxes import iou
from napari_uld.lesions.same_lesion import SAME_LESION

# Coordinates that differ by less (pixels) are the same: a hand is no surer.
SAME_PLACE = 0.5


@dataclass(frozen=True)
class Conflict:
    """One thing about one lesion that people differ on.

    Parameters
    ----------
    scan
        Name of the scan.
    lesion
        Id of the lesion in the merged file.
    key_slice
        Where it lies there.
    about
        "state", "slice", "box", "type", "noisy", "diameters" or "mask".
    views
        What each says, by who says it.
    """

    scan: str
    lesion: str
    key_slice: int
    about: str
    views: Mapping[str, str]

    def __str__(self) -> str:
        """Say who says what."""
        return f"{self.about}: " + ", ".join(f"{who} {view}" for who, view in self.views.items())


@dataclass(frozen=True, eq=False)
class _Marking:
    """A lesion as one file has it."""

    file: str
    row: Annotation

    @property
    def who(self) -> str:
        return f"{self.row.reviewer} in {self.file}" if self.row.reviewer else self.file


def merge(files: Sequence[AnnotationFile]) -> tuple[Annotations, list[Conflict]]:
    """Merge the annotations of one scan.

    Lesions of different files are one where their ids are the same, they come from the same finding, or they are the
    same lesion by their boxes on one slice. What one file calls two lesions stays two.

    Parameters
    ----------
    files
        At least one; a lesion that several have is taken as the first has it.

    Raises
    ------
    AnnotationError
        If they are of different scans.
    """
    _require_one_scan(files)
    scan_id = files[0].annotations.scan_id
    lesions: list[list[_Marking]] = []
    for file, name in zip(files, _names(files), strict=True):
        _join(lesions, [_Marking(name, row) for row in file.annotations])
    rows: dict[str, Annotation] = {}
    conflicts: list[Conflict] = []
    for markings in lesions:
        lesion = _agreed(markings)
        if lesion.id in rows:
            lesion = replace(lesion, id=f"{lesion.id}-{len(rows)}")
        found = [
            Conflict(files[0].scan_name, lesion.id, lesion.key_slice, about, views)
            for about, views in _differing(markings).items()
        ]
        if found:
            comment = "; ".join(filter(None, [lesion.comment, *map(str, found)]))
            lesion = replace(lesion, state=State.PENDING, comment=comment)
        rows[lesion.id] = lesion
        conflicts += found
    return Annotations(scan_id, rows.values()), conflicts


def files_by_scan(given: Sequence[Path]) -> dict[Path, list[AnnotationFile]]:
    """Read annotation files, and all those in folders and below, and put those of one scan together.

    Returns
    -------
    By the place of a scan's first file: its path below the folder that it was found in, or its name.

    Raises
    ------
    AnnotationFileError
        If one cannot be read, there is none, or files of two scans lie at one place.
    AnnotationError
        If no folder was given, and the files are of several scans.
    """
    found = [(path, file) for path in given for file in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not found:
        raise AnnotationFileError(f"There is no annotation file ({SUFFIX}) in {', '.join(map(str, given))}")
    scans: dict[str, list[AnnotationFile]] = {}
    places: dict[str, Path] = {}
    firsts: dict[Path, AnnotationFile] = {}
    for root, path in found:
        file = read_annotations(path)
        scan_id = file.annotations.scan_id
        scans.setdefault(scan_id, []).append(file)
        place = places.setdefault(scan_id, path.relative_to(root) if root.is_dir() else Path(path.name))
        first = firsts.setdefault(place, file)
        if first.annotations.scan_id != scan_id:
            raise AnnotationFileError(
                f"{first.path} and {path} are of two scans and would both be {place} in the merged folder: "
                "merge those of each scan by themselves"
            )
    if not any(path.is_dir() for path in given):
        _require_one_scan([file for files in scans.values() for file in files])
    return {places[scan_id]: files for scan_id, files in scans.items()}


def _require_one_scan(files: Sequence[AnnotationFile]) -> None:
    first = files[0]
    for file in files:
        if file.annotations.scan_id != first.annotations.scan_id:
            raise AnnotationError(
                f"{file.path} holds lesions of {file.scan_name} ({file.annotations.scan_id}), {first.path} those of "
                f"{first.scan_name} ({first.annotations.scan_id}): give files of one scan, or folders"
            )


def _names(files: Sequence[AnnotationFile]) -> list[str]:
    """What files are told by: their names, or their places where several share one."""
    names = [file.path.name for file in files]
    return [str(file.path) if names.count(name) > 1 else name for file, name in zip(files, names, strict=True)]


def _join(lesions: list[list[_Marking]], markings: Sequence[_Marking]) -> None:
    """Put one file's markings to the lesions of the files before it, each to one of its own."""
    known, taken = len(lesions), set()
    for alike in (_same_id, _same_finding, _overlap):
        pairs = [
            (alike(markings[i].row, marking.row), i, j)
            for i in range(len(markings))
            for j in range(known)
            if i not in taken
            for marking in lesions[j]
        ]
        for _, i, j in sorted((pair for pair in pairs if pair[0] > 0), key=lambda pair: -pair[0]):
            if i not in taken and not any(marking in lesions[j] for marking in markings):
                lesions[j].append(markings[i])
                taken.add(i)
    lesions += [[marking] for i, marking in enumerate(markings) if i not in taken]


def _same_id(a: Annotation, b: Annotation) -> float:
    return float(a.id == b.id)


def _same_finding(a: Annotation, b: Annotation) -> float:
    return float(a.parent_id is not None and a.parent_id == b.parent_id)


def _overlap(a: Annotation, b: Annotation) -> float:
    if a.key_slice != b.key_slice:
        return 0.0
    overlap = float(iou(np.array([a.box]), np.array([b.box]))[0, 0])
    return overlap if overlap >= SAME_LESION else 0.0


def _agreed(markings: Sequence[_Marking]) -> Annotation:
    """One lesion of all that is said of it: of each thing what the first says who says something."""
    rows = [marking.row for marking in markings]
    # Box and diameters belong together.
    drawn = next((row for row in rows if row.recist), next((row for row in rows if row.corrected_mask), rows[0]))
    mask = drawn.mask
    if drawn.corrected_mask is None and drawn.recist is not None:
        mask = next((row.corrected_mask for row in rows if row.corrected_mask), None)
    return replace(
        rows[0],
        key_slice=drawn.key_slice,
        box=drawn.box,
        recist=drawn.recist,
        mask=mask,
        source=drawn.source,
        state=next((row.state for row in rows if row.state is not State.PENDING), State.PENDING),
        lesion_type=next(
            (row.lesion_type for row in rows if row.lesion_type != LesionType.UNKNOWN), rows[0].lesion_type
        ),
        comment="; ".join(dict.fromkeys(row.comment for row in rows if row.comment)),
    )


def _differing(markings: Sequence[_Marking]) -> dict[str, dict[str, str]]:
    """What is said differently of one lesion, and by whom."""
    differing = {}
    for about, view in _VIEWS.items():
        views = [(marking.who, said) for marking in markings if (said := view(marking.row)) is not None]
        if any(not _alike(said, views[0][1]) for _, said in views[1:]):
            differing[about] = {who: _told(said) for who, said in views}
    return differing


# What people may differ on; None where one says nothing of it.
_VIEWS: Mapping[str, Callable[[Annotation], object]] = {
    "state": lambda row: None if row.state is State.PENDING else row.state.value,
    "slice": lambda row: row.key_slice,
    "box": lambda row: np.array(row.box),
    "type": lambda row: None if row.lesion_type is LesionType.UNKNOWN else row.lesion_type.name.lower(),
    "noisy": lambda row: "noisy" if row.noisy else "not noisy",
    "diameters": lambda row: None if row.recist is None else row.recist.points,
    "mask": lambda row: row.corrected_mask,
}


def _alike(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return bool(np.abs(a - b).max() < SAME_PLACE)
    return a == b


def _told(said: object) -> str:
    """A view in words; of what is drawn where it lies."""
    if isinstance(said, np.ndarray):
        return " ".join(f"{value:.0f}" for value in said.ravel())
    return str(said) if isinstance(said, str | int) else "as painted"
