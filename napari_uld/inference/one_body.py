"""One lesion is one body: what SORT joins along z, cut where that is none.

SORT follows whatever goes on from slice to slice: a vessel, the spine or the wall of the bowel through a whole scan. A
*body* is a stretch of such a trace in which

- neighbouring boxes overlap by an IoU of at least `tracing.MIN_IOU` as they were detected: where they do not they stop
  being one thing (SORT asks that of the box that it predicts alone), and
- the length along z is at most `LONGEST` times the larger side of the widest box, in mm; one or two slices are always
  allowed. What is longer is cut at its weakest link until no piece is.

A link is as strong as its two boxes overlap (IoU), times the lower of their scores, relative to the lower of the two
highest scores on either side of it: where a trace fades out no link is weak, where it fades and comes back one is.

A body's score lies half way between its highest slice and the mean of its highest slices over `SCORED` of its widest
box's larger side, where slices that it does not have count as 0: a lesion shows on several slices, noise on one. Pieces
of a stretch that was too long are less sure, by the square root of how much too long it was: what runs through the scan
is seldom a lesion, and cut up it would come back many times.

Chosen on 20 validation phantoms of 300 mm with two detectors (docs/tracing.md, benchmarks/bench_tracing.py). Findings
longer than three times their widest box: .60 and .04 % by SORT, none as bodies, and no lesion split. Average
sensitivity at .125 to 8 false positives a scan: .448 and .486 by SORT with the highest slice, .447 and .486 as bodies
with it, .427 and .424 with the mean of the best three, .455 and .521 with this score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.tracing import MIN_IOU, Track, sort_tracks
from napari_uld.lesions.findings import Findings, SliceBoxes

# Larger sides of its widest box, which DeepLesion's margin is part of, that a body is long at most.
LONGEST = 2.0
# Slices that a body may have whatever its size.
ALWAYS = 2
# Larger sides of its widest box over which a body's slices are averaged.
SCORED = 0.2
_NO_SCORE = 1e-9


def trace_bodies(findings: Findings, slice_order: Sequence[int] | np.ndarray, spacing: Sequence[float]) -> Findings:
    """Join the 2D findings of a whole scan into one row per lesion, each one body.

    Parameters
    ----------
    findings
        Untraced findings. Only those of one label, and negatives only with negatives, are joined.
    slice_order
        The scan's native slice numbers along z.
    spacing
        mm between voxel centres along (z, y, x).

    Returns
    -------
    Findings, best first: each body's highest-scoring row with the body's score; its `slice_boxes` are the body's boxes
    as detected, and as SORT's filter predicts them on single slices between.

    Raises
    ------
    DataError
        If a finding lies on a slice that is not in `slice_order`.
    """
    tracks = sort_tracks(findings, slice_order)
    if not tracks:
        return findings
    place = {int(native): z for z, native in enumerate(slice_order)}
    depths = np.asarray([place[int(native)] for native in findings.key_slices])
    # In slices, as lengths are.
    sides = (findings.boxes[:, 2:] - findings.boxes[:, :2]) * (spacing[2], spacing[1])
    larger = sides.max(axis=1) / spacing[0]
    keys, scores, boxes = [], [], []
    for track in tracks:
        for rows, excess in _bodies(np.asarray(track.rows), findings, depths, larger):
            keys.append(int(rows[np.argmax(findings.scores[rows])]))
            scores.append(body_score(findings.scores[rows], float(larger[rows].max()), excess))
            boxes.append(_between(track, place, depths[rows]))
    order = np.argsort(-np.asarray(scores), kind="stable")
    picked = findings.take(np.asarray(keys)[order])
    return replace(picked, scores=np.asarray(scores)[order], slice_boxes=tuple(boxes[i] for i in order))


def body_score(scores: np.ndarray, larger: float, excess: float) -> float:
    """How sure a body is.

    Parameters
    ----------
    scores
        (n,) its slices' scores.
    larger
        The larger side of its widest box, in slices.
    excess
        How many times longer than plausible the stretch was that it was cut from, 1 where it was not.
    """
    counted = max(round(SCORED * larger), 1)
    mean = np.sort(scores)[::-1][:counted].sum() / counted
    return float((scores.max() + mean) / 2 / np.sqrt(excess))


def _bodies(
    rows: np.ndarray, findings: Findings, depths: np.ndarray, larger: np.ndarray
) -> Iterator[tuple[np.ndarray, float]]:
    """Cut a trace's rows into bodies', each with its stretch's excess."""
    boxes, scores = findings.boxes[rows], findings.scores[rows]
    overlaps = np.asarray([iou(boxes[i : i + 1], boxes[i + 1 : i + 2])[0, 0] for i in range(len(rows) - 1)])

    def excess(piece: np.ndarray) -> float:
        plausible = max(ALWAYS, LONGEST * larger[rows[piece]].max())
        return float((np.ptp(depths[rows[piece]]) + 1) / plausible)

    for stretch in np.split(np.arange(len(rows)), np.flatnonzero(overlaps < MIN_IOU) + 1):
        pieces, of_stretch = [stretch], max(excess(stretch), 1.0)
        while pieces:
            piece = pieces.pop()
            if excess(piece) <= 1:
                yield rows[piece], of_stretch
            else:
                strengths = _strengths(scores[piece], overlaps[piece[:-1]])
                # Of equal links the middle one: not slice after slice from one end.
                from_middle = np.abs(2 * np.arange(len(strengths)) - (len(strengths) - 1))
                at = 1 + int(np.lexsort((from_middle, strengths))[0])
                pieces += [piece[at:], piece[:at]]


def _strengths(scores: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """How strong the links of neighbours are, (n - 1,)."""
    before = np.maximum.accumulate(scores)[:-1]
    after = np.maximum.accumulate(scores[::-1])[::-1][1:]
    return overlaps * np.minimum(scores[:-1], scores[1:]) / np.maximum(np.minimum(before, after), _NO_SCORE)


def _between(track: Track, place: dict[int, int], depths: np.ndarray) -> SliceBoxes:
    """A track's boxes from the first to the last of some of its slices."""
    return {native: box for native, box in track.boxes.items() if depths.min() <= place[native] <= depths.max()}
