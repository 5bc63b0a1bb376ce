"""Tracing lesions along z: per-slice detections become one finding a lesion.

A Kalman filter follows each box from slice to slice as SORT follows objects from frame to
frame: the state is (u, v, s, r, u', v', s'), the box's centre, area and aspect ratio (width
over height) and the first three's change per slice. The "end-to-end mining" paper names Kalman
tracing and says no more; the noise is SORT's. A trace's score is that of its highest slice. This is
the papers' protocol, which their tables are made with; what a person gets is cut into bodies
(`one_body`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from napari_uld.errors import DataError
from napari_uld.evaluation.overlaps import iou
from napari_uld.lesions.findings import Box, Findings, as_box

# A detection continues a lesion where it overlaps the predicted box by at least this IoU.
MIN_IOU = 0.3
# Slices in a row on which a lesion may stay unseen.
MAX_AGE = 1

# The smallest width and height (px) of a box, so that the aspect ratio exists.
_MIN_SIDE = 1e-2
_TRANSITION = np.eye(7) + np.eye(7, k=4)
_OBSERVATION = np.eye(4, 7)
_PROCESS_NOISE = np.diag([1.0, 1.0, 1.0, 1.0, 1e-2, 1e-2, 1e-4])
_OBSERVATION_NOISE = np.diag([1.0, 1.0, 10.0, 10.0])
# The change per slice is unknown at first.
_FIRST_COVARIANCE = np.diag([10.0, 10.0, 10.0, 10.0, 1e4, 1e4, 1e4])


@dataclass
class Track:
    """One lesion so far.

    Parameters
    ----------
    rows
        Rows of the findings that were joined, in the order of their slices.
    boxes
        Its box on each slice by native number: as detected, and on single slices between as predicted.
    unseen
        Predicted boxes since it was last seen.
    """

    rows: list[int] = field(default_factory=list)
    boxes: dict[int, Box] = field(default_factory=dict)
    unseen: dict[int, Box] = field(default_factory=dict)

    def see(self, row: int, native: int, box: Box) -> None:
        """Join a row, and what was predicted since the last one."""
        self.rows.append(row)
        self.boxes |= {**self.unseen, native: box}
        self.unseen = {}


@dataclass
class _Alive:
    """The lesions being followed, and their filters' means (n, 7) and covariances (n, 7, 7)."""

    tracks: list[Track]
    means: np.ndarray
    covariances: np.ndarray


def trace(findings: Findings, slice_order: Sequence[int] | np.ndarray) -> Findings:
    """Join the 2D findings of a whole scan into one row per lesion.

    Parameters
    ----------
    findings
        Untraced findings. Only those of one label, and negatives only with negatives, are joined.
    slice_order
        The scan's native slice numbers along z.

    Returns
    -------
    Findings, best first: each lesion's highest-scoring row, whose `slice_boxes` are the
    lesion's boxes as detected, and as the filter predicts them on single slices between.

    Raises
    ------
    DataError
        If a finding lies on a slice that is not in `slice_order`.
    """
    tracks = sort_tracks(findings, slice_order)
    if not tracks:
        return findings
    keys = np.asarray([track.rows[int(np.argmax(findings.scores[track.rows]))] for track in tracks])
    order = np.lexsort((np.arange(len(keys)), -findings.scores[keys]))
    return replace(findings.take(keys[order]), slice_boxes=tuple(tracks[i].boxes for i in order))


def sort_tracks(findings: Findings, slice_order: Sequence[int] | np.ndarray) -> list[Track]:
    """Follow lesions from slice to slice; every row is in one track (see `trace`)."""
    numbers = [int(native) for native in slice_order]
    missing = sorted(set(findings.key_slices.tolist()) - set(numbers))
    if missing:
        raise DataError(
            f"Findings of {findings.scan_name} lie on slices {missing[:5]}, which its {len(numbers)} slices lack: "
            "trace findings with the scan they were made on"
        )
    kinds = 2 * findings.labels + findings.negative
    alive = _Alive([], np.zeros((0, 7)), np.zeros((0, 7, 7)))
    tracks: list[Track] = []
    for native in numbers:
        rows = _rows_on(findings, native)
        _predict(alive)
        pairs = _assign(alive, findings, kinds, rows)
        _update(alive, pairs[:, 0], findings.boxes[rows[pairs[:, 1]]])
        for t, d in pairs:
            alive.tracks[t].see(int(rows[d]), native, as_box(findings.boxes[rows[d]]))
        alive = _survivors(alive, native, set(pairs[:, 0].tolist()))
        tracks += _start(alive, findings, np.delete(rows, pairs[:, 1]), native)
    return tracks


def _rows_on(findings: Findings, native: int) -> np.ndarray:
    """Rows on one slice, in an order that does not depend on the rows' own."""
    rows = np.flatnonzero(findings.key_slices == native)
    return rows[np.lexsort((*findings.boxes[rows].T, -findings.scores[rows]))]


def _predict(alive: _Alive) -> None:
    # An area does not shrink below nothing: then it stays as it is.
    shrinking = alive.means[:, 2] + alive.means[:, 6] <= 0
    alive.means[shrinking, 6] = 0
    alive.means = alive.means @ _TRANSITION.T
    alive.covariances = _TRANSITION @ alive.covariances @ _TRANSITION.T + _PROCESS_NOISE


def _assign(alive: _Alive, findings: Findings, kinds: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs (track, place in `rows`), (k, 2), with the largest total IoU."""
    track_kinds = kinds[[track.rows[0] for track in alive.tracks]]
    overlap = iou(_boxes(alive.means), findings.boxes[rows])
    allowed = (overlap >= MIN_IOU) & (track_kinds[:, None] == kinds[rows])
    pairs = np.stack(linear_sum_assignment(np.where(allowed, overlap, 0), maximize=True), axis=1)
    return pairs[allowed[pairs[:, 0], pairs[:, 1]]]


def _update(alive: _Alive, seen: np.ndarray, boxes: np.ndarray) -> None:
    means, covariances = alive.means[seen], alive.covariances[seen]
    innovation = _observations(boxes) - means @ _OBSERVATION.T
    spread = _OBSERVATION @ covariances @ _OBSERVATION.T + _OBSERVATION_NOISE
    gain = covariances @ _OBSERVATION.T @ np.linalg.inv(spread)
    alive.means[seen] = means + (gain @ innovation[:, :, None])[:, :, 0]
    alive.covariances[seen] = (np.eye(7) - gain @ _OBSERVATION) @ covariances


def _survivors(alive: _Alive, native: int, seen: set[int]) -> _Alive:
    """Note the predicted box of every unseen track and drop those unseen for too long."""
    predicted = _boxes(alive.means)
    for t, track in enumerate(alive.tracks):
        if t not in seen:
            track.unseen[native] = as_box(predicted[t])
    keep = [t for t, track in enumerate(alive.tracks) if len(track.unseen) <= MAX_AGE]
    return _Alive([alive.tracks[t] for t in keep], alive.means[keep], alive.covariances[keep])


def _start(alive: _Alive, findings: Findings, rows: np.ndarray, native: int) -> list[Track]:
    """Begin a track at each of `rows`."""
    new = [Track() for _ in rows]
    for track, row in zip(new, rows, strict=True):
        track.see(int(row), native, as_box(findings.boxes[row]))
    still = np.zeros((len(rows), 3))
    alive.tracks += new
    alive.means = np.concatenate([alive.means, np.concatenate([_observations(findings.boxes[rows]), still], axis=1)])
    alive.covariances = np.concatenate([alive.covariances, np.broadcast_to(_FIRST_COVARIANCE, (len(rows), 7, 7))])
    return new


def _observations(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) as (u, v, s, r)."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    width, height = np.maximum(boxes[:, 2:] - boxes[:, :2], _MIN_SIDE).T
    return np.stack([*centres.T, width * height, width / height], axis=1)


def _boxes(means: np.ndarray) -> np.ndarray:
    """Means (n, 7) as boxes (n, 4)."""
    area, ratio = np.maximum(means[:, 2], _MIN_SIDE**2), np.maximum(means[:, 3], _MIN_SIDE)
    half = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=1) / 2
    return np.concatenate([means[:, :2] - half, means[:, :2] + half], axis=1)
