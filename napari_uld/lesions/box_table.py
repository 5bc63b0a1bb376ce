"""Boxes of many scans, whoever made them: what is scored, and what it is scored against.

Boxes are brought to one convention: pixel centres at integers, 0-based, slices by their native number, and along z
half a slice beyond the centres of the first and the last.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from napari_uld.errors import BoxError
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.boxes import as_boxes
from napari_uld.lesions.findings import Findings, SliceBoxes, as_box


class Margin(StrEnum):
    """How closely boxes lie about what they hold: measured against one another, small ones of both kinds miss."""

    TIGHT = "tight"
    PADDED = "padded"


class Extent(StrEnum):
    """What is known of each lesion along z."""

    ONE_SLICE = "one slice each"
    TRACED = "traced"
    BODIES = "bodies"


class ScanName(NamedTuple):
    """A series, or its slices from `first` to `last`; all of them where these are None."""

    series: str
    first: int | None
    last: int | None

    @classmethod
    def of(cls, text: str) -> "ScanName":
        """Read "000001_01_01", or "000001_01_01_103-115" and the same with ".annot" behind it."""
        part = re.fullmatch(r"(.+)_(\d+)-(\d+)(?:\.annot)?", text)
        return cls(part[1], int(part[2]), int(part[3])) if part else cls(text, None, None)

    @property
    def patient(self) -> str:
        """Whom DeepLesion's series are of; elsewhere every scan is somebody's own."""
        deeplesion = re.fullmatch(r"(\d{6})_\d{2}_\d{2}", self.series)
        return deeplesion[1] if deeplesion else self.series

    def meets(self, other: "ScanName") -> bool:
        """Whether a part of the same series shares a slice with it."""
        if self.first is None or self.last is None or other.first is None or other.last is None:
            return True
        return self.first <= other.last and other.first <= self.last

    def holds(self, number: int) -> bool:
        """Whether a native slice belongs to it."""
        return self.first is None or self.last is None or self.first <= number <= self.last


@dataclass(frozen=True, eq=False)
class ScanBoxes:
    """Boxes of one scan, row i of every column belonging together.

    Parameters
    ----------
    boxes
        (n, 6) boxes (x1, y1, z1, x2, y2, z2), z1 and z2 half a slice beyond the first and the last native slice.
    scores
        (n,) floats, higher is surer; 1 where nobody scored.
    slice_boxes
        For each row its box on each slice, by native number.
    diameters
        (n,) long diameters in mm, NaN where nobody measured.
    types
        DeepLesion's coarse types, () where none is known.

    Raises
    ------
    BoxError
        If a box is malformed, a score is not finite or the columns differ in length.
    """

    boxes: np.ndarray
    scores: np.ndarray
    slice_boxes: tuple[SliceBoxes, ...]
    diameters: np.ndarray
    types: tuple[LesionType, ...] = ()

    def __post_init__(self) -> None:
        as_boxes(self.boxes, dims=3)
        lengths = {len(self.boxes), len(self.scores), len(self.slice_boxes), len(self.diameters)}
        if len(lengths | ({len(self.types)} if self.types else set())) != 1:
            raise BoxError(f"Columns of boxes must have one length; found {sorted(lengths)}")
        if not np.isfinite(self.scores).all():
            raise BoxError("Scores must be finite; found NaN or infinity")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def traced(
        cls,
        slice_boxes: Sequence[SliceBoxes],
        scores: object = None,
        diameters: object = None,
        types: tuple[LesionType, ...] = (),
    ) -> "ScanBoxes":
        """Make them from each row's box on each slice (one slice or many); the body is the hull.

        Raises
        ------
        BoxError
            As the class does, or if a row has no slice.
        """
        if not all(slice_boxes):
            raise BoxError("A traced box must lie on a slice; found one on none")
        hulls = []
        for row in slice_boxes:
            corners = as_boxes(list(row.values()))
            low, high = min(row) - 0.5, max(row) + 0.5
            hulls.append([*corners[:, :2].min(axis=0), low, *corners[:, 2:].max(axis=0), high])
        return cls._filled(as_boxes(hulls, dims=3), tuple(slice_boxes), scores, diameters, types)

    @classmethod
    def bodies(
        cls, boxes: object, scores: object = None, diameters: object = None, types: tuple[LesionType, ...] = ()
    ) -> "ScanBoxes":
        """Make them from (n, 6) boxes that are the same on each of their slices, z1 and z2 the first and the last.

        Raises
        ------
        BoxError
            As the class does.
        """
        rows = as_boxes(boxes, dims=3)
        on_slices = tuple(
            {number: as_box(row[[0, 1, 3, 4]]) for number in range(int(np.ceil(row[2])), int(np.floor(row[5])) + 1)}
            for row in rows
        )
        whole = rows + np.array([0, 0, -0.5, 0, 0, 0.5])
        return cls._filled(whole, on_slices, scores, diameters, types)

    @classmethod
    def _filled(
        cls,
        boxes: np.ndarray,
        slice_boxes: tuple[SliceBoxes, ...],
        scores: object,
        diameters: object,
        types: tuple[LesionType, ...],
    ) -> "ScanBoxes":
        scored = np.ones(len(boxes)) if scores is None else np.array(scores, dtype=np.float64).reshape(-1)
        measured = np.full(len(boxes), np.nan) if diameters is None else np.array(diameters, float).reshape(-1)
        return cls(boxes, scored, slice_boxes, measured, types)

    def take(self, rows: Sequence[int]) -> "ScanBoxes":
        """Give those of `rows`."""
        picked = np.asarray(rows, dtype=np.int64)
        return ScanBoxes(
            self.boxes[picked],
            self.scores[picked],
            tuple(self.slice_boxes[row] for row in picked),
            self.diameters[picked],
            tuple(self.types[row] for row in picked) if self.types else (),
        )

    def within(self, first: int, last: int) -> "ScanBoxes":
        """Give the parts of those that reach into the slices from `first` to `last`."""
        low, high = first - 0.5, last + 0.5
        inside = self.take(np.flatnonzero((self.boxes[:, 2] < high) & (self.boxes[:, 5] > low)).tolist())
        boxes = inside.boxes.copy()
        boxes[:, [2, 5]] = np.clip(boxes[:, [2, 5]], low, high)
        on_slices = tuple({n: box for n, box in row.items() if first <= n <= last} for row in inside.slice_boxes)
        return ScanBoxes(boxes, inside.scores, on_slices, inside.diameters, inside.types)

    def on(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, 4) on one slice, and their scores (n,)."""
        rows = [row for row, boxes in enumerate(self.slice_boxes) if number in boxes]
        return as_boxes([self.slice_boxes[row][number] for row in rows]), self.scores[rows]


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Boxes of many scans.

    Parameters
    ----------
    source
        What a person calls it.
    scans
        By name (see `ScanName`): also those that are known to have none.
    margin
        How closely the boxes lie about what they hold; None where nobody said.
    extent
        What is known of each lesion along z.
    names_all
        Whether it names every scan that was looked at; else a scan that it does not name is one with no boxes.
    """

    source: str
    scans: Mapping[str, ScanBoxes]
    margin: Margin | None
    extent: Extent
    names_all: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.scans.values()))

    @cached_property
    def _by_name(self) -> dict[ScanName, ScanBoxes]:
        return {ScanName.of(name): boxes for name, boxes in self.scans.items()}

    @cached_property
    def _by_series(self) -> dict[str, list[ScanName]]:
        by_series: dict[str, list[ScanName]] = {}
        for name in self._by_name:
            by_series.setdefault(name.series, []).append(name)
        return by_series

    def of(self, name: str) -> ScanBoxes | None:
        """Boxes of a scan or of a part of one: under that name, or from what shares its slices.

        Boxes that reach beyond the part are cut off there. None where nothing shares a slice with it.
        """
        wanted = ScanName.of(name)
        if wanted in self._by_name:
            return self._by_name[wanted]
        parts = [self._by_name[other] for other in self._by_series.get(wanted.series, ()) if wanted.meets(other)]
        if parts and wanted.first is not None and wanted.last is not None:
            parts = [boxes.within(wanted.first, wanted.last) for boxes in parts]
        return joined(parts) if parts else None

    def on_slice(self, name: str, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Boxes (n, 4) on one slice of a scan, and their scores (n,); None where nothing holds that slice."""
        wanted = ScanName.of(name)
        names = [wanted] if wanted in self._by_name else self._by_series.get(wanted.series, [])
        found = [self._by_name[other].on(number) for other in names if other.holds(number)]
        if not found:
            return None
        return np.concatenate([boxes for boxes, _ in found]), np.concatenate([scores for _, scores in found])


def joined(parts: Sequence[ScanBoxes]) -> ScanBoxes:
    """Boxes of several parts of a scan as those of one."""
    if len(parts) == 1:
        return parts[0]
    return ScanBoxes(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        tuple(row for part in parts for row in part.slice_boxes),
        np.concatenate([part.diameters for part in parts]),
        tuple(each for part in parts for each in part.types),
    )


def from_findings(findings: Findings) -> ScanBoxes:
    """Boxes of what a machine found on a scan, without what it calls false."""
    found = findings.take(~findings.negative)
    if found.depths is None:
        return ScanBoxes.traced(found.slice_boxes, found.scores)
    boxes = np.column_stack([found.boxes[:, :2], found.depths[:, 0], found.boxes[:, 2:], found.depths[:, 1]])
    return ScanBoxes(boxes, found.scores, found.slice_boxes, np.full(len(found), np.nan))
