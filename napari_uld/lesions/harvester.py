"""Pickles of DeepLesion's fully annotated sub-volumes: Lesion Harvester's, and the manual 1K's of LENS.

Lesion Harvester names a sub-volume "<series>_<first>-<last>", some files with ".annot" behind it; z counts from its
first slice, x and y from 1. Its files hold

- lesions on one slice each, `{volume: {z: [[x1, y1, x2, y2, z, z]]}}` (RECIST-Box-*, Revised-*), padded like
  DeepLesion's;
- bodies, `{volume: [[x1, y1, x2, y2, z1, z2]]}` (3D-Box): tight, x and y from 0, z1 and z2 inclusive; where they are
  halves, they are the edges of slices instead;
- detections, `{volume: {z: [[x1, y1, x2, y2, score]]}}` or `{volume: [(z, [x1, y1, x2, y2, score])]}`, and traced ones,
  `{volume: [[(z, [x1, y1, x2, y2, score])]]}`: padded, x and y from 1 like the lesions.

The manual 1K file holds `{"val" | "test": {volume: (n, 6) array of x1, y1, z1, x2, y2, z2}}`, padded: x and y from 0, z
the slices' native numbers, inclusive.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.errors import AnnotationFileError, BoxError
from napari_uld.lesions.box_table import BoxTable, Extent, Margin, ScanBoxes, ScanName
from napari_uld.lesions.boxes import Box, as_boxes
from napari_uld.lesions.findings import as_box
from napari_uld.lesions.plain_pickle import read_plain_pickle

MANUAL_SPLITS = ("val", "test")
# What a pickle may hold, for whoever gave another.
KINDS = (
    "Lesion Harvester's {volume: {z: [boxes]}}, {volume: [boxes]} or {volume: [tracklets]}, "
    "or the manual 1K's {'val' or 'test': {volume: boxes}}"
)


def read_box_pickle(path: Path, split: str = "test") -> BoxTable:
    """Read any of the pickles that this module is about.

    Parameters
    ----------
    split
        Which part of the manual 1K file: "val", "test" or "all"; the other files are of one split each.

    Raises
    ------
    AnnotationFileError
        If it cannot be read, or is none of them.
    """
    content = read_plain_pickle(path)
    if not isinstance(content, dict) or not content or not all(isinstance(name, str) for name in content):
        raise AnnotationFileError(f"{path}: found a {type(content).__name__} without volumes, required {KINDS}")
    if set(content) <= set(MANUAL_SPLITS):
        return _manual(path, content, split)
    for name in content:
        if ScanName.of(name).first is None:
            raise AnnotationFileError(
                f"{path}: found the volume {name!r}, required a name like 000001_01_01_103-115, which says its slices"
            )
    bodies = _hold_bodies(content)
    read = _read_bodies if bodies else _read_slices
    scans = {name: _checked(path, name, read, volume) for name, volume in content.items()}
    if bodies:
        return BoxTable(path.name, scans, Margin.TIGHT, Extent.BODIES)
    one_slice = all(len(row) == 1 for boxes in scans.values() for row in boxes.slice_boxes)
    return BoxTable(path.name, scans, Margin.PADDED, Extent.ONE_SLICE if one_slice else Extent.TRACED)


def _manual(path: Path, content: dict[str, Any], split: str) -> BoxTable:
    wanted = MANUAL_SPLITS if split == "all" else (split,)
    missing = [name for name in wanted if not isinstance(content.get(name), dict)]
    if missing:
        raise AnnotationFileError(
            f"{path} has the splits {', '.join(content)} and no {' or '.join(missing)}: choose one with --split"
        )
    volumes = {name: rows for part in wanted for name, rows in content[part].items()}
    scans = {name: _checked(path, name, _read_manual, rows) for name, rows in volumes.items()}
    return BoxTable(path.name, scans, Margin.PADDED, Extent.BODIES)


def _checked(path: Path, name: str, read: Any, volume: object) -> ScanBoxes:
    try:
        return read(ScanName.of(name), volume)
    except (BoxError, IndexError, KeyError, TypeError, ValueError) as error:
        raise AnnotationFileError(f"{path}, volume {name}: {error}; required {KINDS}") from error


def _hold_bodies(content: Mapping[str, Any]) -> bool:
    """Whether every volume is a list of six numbers a lesion."""
    rows = [row for volume in content.values() if isinstance(volume, list | np.ndarray) for row in volume]
    return bool(rows) and all(_are_numbers(row, 6) for row in rows)


def _are_numbers(row: Any, count: int) -> bool:
    return isinstance(row, Sequence | np.ndarray) and len(row) == count and all(isinstance(v, Real) for v in row)


def _inside(name: ScanName, first: float, last: float) -> None:
    """Refuse slices that the volume's name does not have: numbers from another beginning, or a damaged file."""
    if not (name.holds(int(np.floor(first))) and name.holds(int(np.ceil(last)))):
        raise ValueError(
            f"found a box on the slices {first:g} to {last:g} of a volume that has {name.first} to {name.last}"
        )


def _read_manual(name: ScanName, volume: Any) -> ScanBoxes:
    rows = as_boxes(volume, dims=3)
    for row in rows:
        _inside(name, row[2], row[5])
    return ScanBoxes.bodies(rows)


def _read_bodies(name: ScanName, volume: Any) -> ScanBoxes:
    rows = np.asarray(volume, dtype=np.float64).reshape(-1, 6)
    # Some files' halves and whole numbers come with a rounding error.
    first, last = (np.round(rows[:, column] * 2) / 2 for column in (4, 5))
    edges = first % 1 != 0
    first, last = first + 0.5 * edges + (name.first or 0), last - 0.5 * edges + (name.first or 0)
    return _read_manual(name, np.column_stack([rows[:, :2], first, rows[:, 2:4], last]))


def _read_slices(name: ScanName, volume: Any) -> ScanBoxes:
    """Read lesions or detections slice by slice, detections as pairs of slice and box, or lists of such pairs."""
    if isinstance(volume, Mapping):
        tracklets = [[(z, row)] for z, rows in volume.items() for row in rows]
    else:
        tracklets = [[item] if _is_pair(item) else list(item) for item in volume]
    on_slices: list[dict[int, Box]] = []
    scores = []
    for tracklet in tracklets:
        boxes = {}
        for z, row in tracklet:
            if not (_are_numbers(row, 5) or _are_numbers(row, 6)):
                raise ValueError(f"found {row!r} for a box")
            number = int(z) + (name.first or 0)
            _inside(name, number, number)
            boxes[number] = as_box(np.asarray(row[:4], dtype=np.float64) - 1)
        on_slices.append(boxes)
        scores.append(max(float(row[4]) if len(row) == 5 else 1.0 for _, row in tracklet))
    return ScanBoxes.traced(on_slices, scores)


def _is_pair(item: Any) -> bool:
    """Whether it is a slice and its box, not a list of such."""
    return len(item) == 2 and isinstance(item[0], Real)
