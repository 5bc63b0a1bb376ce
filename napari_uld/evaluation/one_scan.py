"""A method on one scan: which lesions of a reference it finds, and how many with so many false positives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_uld.evaluation.froc import Froc, froc
from napari_uld.evaluation.matching import match
from napari_uld.lesions.findings import SliceBoxes
from napari_uld.lesions.same_lesion import SAME_LESION, traced_iou


@dataclass(frozen=True)
class Point:
    """A method's point of the FROC curve on one scan.

    Parameters
    ----------
    score
        The lowest score that counts: infinity where even the surest detections give too many false positives, minus
        infinity where nothing has a score.
    found, false
        Lesions that are hit, and false positives, from that score on.
    """

    score: float
    found: int
    false: int


@dataclass(frozen=True, eq=False)
class OnScan:
    """What a method marked on a scan, matched with the reference's lesions.

    Parameters
    ----------
    scores
        (n,) of what it marked; None where it gives none, as a person does: then all of it always counts.
    lesion
        (n,) index of the lesion that it is a mark of, the one that it overlaps most; -1 where it is false.
    lesion_scores
        (m,) of each lesion: the score of the first mark that hit it (0 without scores), minus infinity where none did.
    curve
        Its points at 0, 1, 2, ... false positives, up to all of its own.
    """

    scores: np.ndarray | None
    lesion: np.ndarray
    lesion_scores: np.ndarray
    curve: Froc

    @property
    def false(self) -> np.ndarray:
        """Whether each mark (n,) is of no lesion. A second mark of a lesion is neither a hit nor false."""
        return self.lesion < 0

    @property
    def all_false(self) -> int:
        """False positives where all that it marked counts."""
        return int(self.false.sum())

    def at(self, allowed: int) -> Point:
        """Give the point with as many lesions found as `allowed` false positives, or fewer, let it find."""
        if self.scores is None:
            return Point(-np.inf, int((self.lesion_scores > -np.inf).sum()), self.all_false)
        place = min(allowed, self.all_false)
        return Point(float(self.curve.scores[place]), int(self.curve.found[place]), int(self.curve.false[place]))

    def counts(self, point: Point) -> np.ndarray:
        """Whether each mark (n,) counts at a point."""
        return np.ones(len(self.lesion), bool) if self.scores is None else self.scores >= point.score


def on_scan(lesions: Sequence[SliceBoxes], marked: Sequence[SliceBoxes], scores: np.ndarray | None) -> OnScan:
    """Match what a method marked on a scan with the reference's lesions, as `match` does whole data sets.

    Parameters
    ----------
    lesions
        For each lesion of the reference its box on each slice, by native number.
    marked
        The same for each mark of the method.
    scores
        (n,) how sure it is of each; None where it does not say.
    """
    overlap = np.zeros((len(marked), len(lesions)))
    for (mark, lesion), most in traced_iou(marked, lesions).items():
        overlap[mark, lesion] = most
    given = np.zeros(len(marked)) if scores is None else np.asarray(scores, float)
    matches = match([overlap], [given], threshold=SAME_LESION)
    lesion_of, hits = np.full(len(marked), -1), np.flatnonzero((overlap >= SAME_LESION).any(axis=1))
    if len(hits):
        lesion_of[hits] = overlap[hits].argmax(axis=1)
    (lesion_scores,) = matches.lesion_scores
    return OnScan(
        scores=None if scores is None else given,
        lesion=lesion_of,
        lesion_scores=lesion_scores,
        curve=froc(matches, range(len(marked) - len(hits) + 1)),
    )
