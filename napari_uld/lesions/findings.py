"""What a machine said about one scan: columnar and immutable."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from napari_uld.errors import BoxError
from napari_uld.lesions.boxes import PADDING, Box, as_boxes
from napari_uld.lesions.rle import Rle

SliceBoxes = Mapping[int, Box]
# Class numbers: what detectors are for, and what hard negatives are taught as.
LESION_LABEL, HARD_NEGATIVE_LABEL = 1, 2
# Score from which on findings are shown at first whose detector nobody evaluated.
DEFAULT_THRESHOLD = 0.4


@dataclass(frozen=True, eq=False)
class Findings:
    """Detections on one scan, row i of every column belonging together.

    Parameters
    ----------
    scan_id
        `CTVolume.scan_id` of the scan.
    scan_name
        What a person calls the scan.
    method
        The recipe's name.
    checkpoint
        Hash of the checkpoint's bytes.
    boxes
        (n, 4) pixel-centre boxes (x1, y1, x2, y2) on the key slice.
    scores
        (n,) floats, higher is surer.
    labels
        (n,) class numbers; 1 is a lesion.
    key_slices
        (n,) native slice numbers.
    negative
        (n,) bool: mined as a false positive, not to be shown as a lesion.
    slice_boxes
        For each row the box on every slice it was traced through, by native number; the key
        slice alone where it was not traced.
    masks
        For each row its mask on the key slice, or None.
    points
        For each row the (k, 3) points (x, y, z) on its surface, or None: pixel centres at integers, z as native
        slice numbers.
    depths
        (n, 2) each box's extent along z (low, high), as native slice numbers with slice centres at integers;
        low <= high whichever way the numbers grow. None where the boxes are 2D.
    first_points
        For each row where `points` lay before the detector refined them, or None; None where no row has any.
    operating_point
        Score from which on the detector gave two false positives a key slice when it was evaluated, or None.
    tight
        Whether the boxes lie about the voxels of what they hold, as those with a depth always do; else they have
        DeepLesion's margin.
    columns
        More scores by name, (n,) finite floats each: "s2", say, is the mask's overlap with a lesion's of a hard
        negative.

    Raises
    ------
    BoxError
        If the columns differ in length, a box, a depth or a point is malformed or a score is not finite.
    """

    scan_id: str
    scan_name: str
    method: str
    checkpoint: str
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    key_slices: np.ndarray
    negative: np.ndarray
    slice_boxes: tuple[SliceBoxes, ...]
    masks: tuple[Rle | None, ...]
    points: tuple[np.ndarray | None, ...]
    depths: np.ndarray | None = None
    operating_point: float | None = None
    tight: bool = False
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    first_points: tuple[np.ndarray | None, ...] | None = None

    def __post_init__(self) -> None:
        as_boxes(self.boxes)
        arrays = [self.boxes, self.scores, self.labels, self.key_slices, self.negative, *self.columns.values()]
        if self.depths is not None:
            as_boxes(self.depths, dims=1)
            arrays.append(self.depths)
        lists = (self.slice_boxes, self.masks, self.points, *([] if self.first_points is None else [self.first_points]))
        lengths = {len(column) for column in (*lists, *arrays)}
        if len(lengths) != 1:
            raise BoxError(f"Columns of findings must have one length; found {sorted(lengths)}")
        if not all(np.isfinite(scores).all() for scores in (self.scores, *self.columns.values())):
            raise BoxError("Scores of findings must be finite; found NaN or infinity")
        for array in arrays:
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def from_rows(
        cls,
        *,
        scan_id: str,
        scan_name: str,
        method: str,
        checkpoint: str,
        boxes: object,
        scores: object,
        key_slices: object,
        labels: object = None,
        negative: object = None,
        slice_boxes: tuple[SliceBoxes, ...] | None = None,
        masks: tuple[Rle | None, ...] | None = None,
        points: Sequence[object] | None = None,
        depths: object = None,
        operating_point: float | None = None,
        tight: bool = False,
        columns: Mapping[str, object] | None = None,
        first_points: Sequence[object] | None = None,
    ) -> "Findings":
        """Make findings from array-likes, filling in what an untraced 2D detector does not give.

        Raises
        ------
        BoxError
            If the columns differ in length, a box, a depth or a point is malformed or a score is not finite.
        """
        rows = as_boxes(boxes).copy()  # the findings freeze their columns, not the caller's array
        keys = np.array(key_slices, dtype=np.int64).reshape(-1)
        n = len(rows)
        if slice_boxes is None:
            slice_boxes = tuple({int(k): as_box(row)} for k, row in zip(keys, rows, strict=False))
        return cls(
            scan_id=scan_id,
            scan_name=scan_name,
            method=method,
            checkpoint=checkpoint,
            boxes=rows,
            scores=_as_scores(scores),
            labels=np.ones(n, np.int64) if labels is None else np.array(labels, dtype=np.int64).reshape(-1),
            key_slices=keys,
            negative=np.zeros(n, bool) if negative is None else np.array(negative, dtype=bool).reshape(-1),
            slice_boxes=slice_boxes,
            masks=(None,) * n if masks is None else masks,
            points=(None,) * n if points is None else _as_clouds(points),
            first_points=None if first_points is None else _as_clouds(first_points),
            depths=None if depths is None else as_boxes(depths, dims=1).copy(),
            operating_point=operating_point,
            tight=tight or depths is not None,
            columns={name: _as_scores(values) for name, values in (columns or {}).items()},
        )

    @property
    def detector(self) -> str:
        """What made them: method and checkpoint hash."""
        return detector_name(self.method, self.checkpoint)

    def take(self, rows: np.ndarray) -> "Findings":
        """Give the findings of `rows` (indices, or a bool mask of length n) in that order."""
        picked = np.arange(len(self))[rows if len(rows) else []]
        return replace(
            self,
            boxes=self.boxes[picked],
            scores=self.scores[picked],
            labels=self.labels[picked],
            key_slices=self.key_slices[picked],
            negative=self.negative[picked],
            slice_boxes=tuple(self.slice_boxes[i] for i in picked),
            masks=tuple(self.masks[i] for i in picked),
            points=tuple(self.points[i] for i in picked),
            first_points=None if self.first_points is None else tuple(self.first_points[i] for i in picked),
            depths=None if self.depths is None else self.depths[picked],
            columns={name: values[picked] for name, values in self.columns.items()},
        )

    def above(self, threshold: float) -> "Findings":
        """Give the findings with a score of at least `threshold`, best first."""
        order = np.argsort(-self.scores, kind="stable")
        return self.take(order[self.scores[order] >= threshold])

    @cached_property
    def with_margin(self) -> tuple[SliceBoxes, ...]:
        """`slice_boxes` as annotations have theirs, with DeepLesion's margin; the key slice's among them."""
        margin = PADDING if self.tight else 0.0
        return tuple(
            {native: as_box(np.add(box, margin)) for native, box in {**traced, int(key): own}.items()}
            for traced, key, own in zip(self.slice_boxes, self.key_slices, self.boxes, strict=True)
        )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The stable id of every finding, see `finding_id`."""
        return tuple(self.finding_id(row) for row in range(len(self)))

    def finding_id(self, row: int) -> str:
        """Stable id of one finding: a hash of the scan, the checkpoint, the slice and the box with its depth."""
        corners = self.boxes[row] if self.depths is None else (*self.boxes[row], *self.depths[row])
        text = f"{self.scan_id}|{self.checkpoint}|{int(self.key_slices[row])}|" + ",".join(f"{v:.3f}" for v in corners)
        return "finding:" + hashlib.sha256(text.encode()).hexdigest()[:16]


def joined(parts: Sequence[Findings], scan_name: str) -> Findings:
    """Put what one detector found in several parts of one scan together, best first.

    Parameters
    ----------
    parts
        At least one, all of one scan id and one detector, with the same score columns.
    scan_name
        What a person calls the whole.
    """
    depths = [part.depths for part in parts if part.depths is not None]
    first = [points for part in parts for points in part.first_points or (None,) * len(part)]
    whole = replace(
        parts[0],
        scan_name=scan_name,
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        key_slices=np.concatenate([part.key_slices for part in parts]),
        negative=np.concatenate([part.negative for part in parts]),
        slice_boxes=tuple(boxes for part in parts for boxes in part.slice_boxes),
        masks=tuple(mask for part in parts for mask in part.masks),
        points=tuple(points for part in parts for points in part.points),
        first_points=tuple(first) if any(part.first_points for part in parts) else None,
        depths=np.concatenate(depths) if depths else None,
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
    )
    return whole.take(np.argsort(-whole.scores, kind="stable"))


def in_voxels(points: np.ndarray, position: Mapping[int, int]) -> np.ndarray:
    """Points (n, 3), (x, y, number of a slice), in voxels (z, y, x); beyond the last slice numbers go on as before it.

    Parameters
    ----------
    points
        The points.
    position
        Index of each slice that is on disk by its native number.
    """
    natives = np.array(sorted(position), float)
    places = np.array([position[int(native)] for native in natives], float)
    z = np.interp(points[:, 2], natives, places)
    if len(natives) > 1:
        below, above = np.minimum(points[:, 2] - natives[0], 0), np.maximum(points[:, 2] - natives[-1], 0)
        z += below * np.sign(places[1] - places[0]) + above * np.sign(places[-1] - places[-2])
    return np.column_stack([z, points[:, 1], points[:, 0]])


def detector_name(method: str, checkpoint: str) -> str:
    """Name a detector by its method and its checkpoint's hash."""
    return f"{method} {checkpoint}"


def _as_scores(scores: object) -> np.ndarray:
    return np.array(scores, dtype=np.float64).reshape(-1)


def _as_clouds(rows: Sequence[object]) -> tuple[np.ndarray | None, ...]:
    return tuple(None if points is None else _as_points(points) for points in rows)


def _as_points(points: object) -> np.ndarray:
    """Check one row's surface points and give them as a read-only float64 array (k, 3)."""
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"Surface points must be rows of three numbers: {error}") from error
    if array.size == 0:
        array = np.zeros((0, 3))
    if array.ndim != 2 or array.shape[1] != 3 or not np.isfinite(array).all():
        raise BoxError(f"Surface points must be rows of three finite numbers; found the shape {array.shape}")
    array.setflags(write=False)
    return array


def as_box(row: np.ndarray) -> Box:
    """Give a row of four numbers as a tuple of plain floats."""
    x1, y1, x2, y2 = np.asarray(row, np.float64).tolist()
    return x1, y1, x2, y2
