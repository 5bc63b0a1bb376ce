"""What a teacher mined in an epoch, for the log: how much, how sure it was and, where the truth is known, how right."""

from typing import Any

import numpy as np

from napari_uld.evaluation.overlaps import iou

# A mined box is right where it overlaps a lesion by this much; so is a lesion listed that overlaps an annotated box.
HIT_IOU = 0.5
QUANTILES = (0.5, 0.9, 0.99, 1.0)


class Tally:
    """Counts over the images of an epoch."""

    def __init__(self) -> None:
        self.images = self.mined = self.right = self.again = self.unlisted = self.found = 0
        self.knows_truth = False
        self.top: list[float] = []
        self.fresh: list[float] = []

    def add(
        self, scores: np.ndarray, fresh: np.ndarray, mined: np.ndarray, annotated: np.ndarray, true: np.ndarray | None
    ) -> None:
        """Count one image.

        Parameters
        ----------
        scores, fresh
            (n,) the teacher's scores, and (n,) bool: which of its detections are no annotated lesion.
        mined
            (k, 4) boxes that were mined.
        annotated, true
            (m, 4) boxes of the annotated lesions, and of all where the truth is known.
        """
        self.images += 1
        self.mined += len(mined)
        self.top.append(float(scores.max(initial=0.0)))
        self.fresh.append(float(scores[fresh].max(initial=0.0)))
        if true is None:
            return
        self.knows_truth = True
        listed = (iou(true, annotated) >= HIT_IOU).any(axis=1)
        hit = iou(mined, true) >= HIT_IOU
        self.right += int(hit.any(axis=1).sum())
        self.again += int((hit.any(axis=1) & ~hit[:, ~listed].any(axis=1)).sum())
        self.unlisted += int((~listed).sum())
        self.found += int(hit[:, ~listed].any(axis=0).sum())

    def row(self) -> dict[str, Any]:
        """Mined boxes, their precision, those of them that are annotated lesions again, recall of the unlisted ones.

        And quantiles of each image's highest score: of all detections, and of those that are no annotated lesion.
        """
        row: dict[str, Any] = {"images": self.images, "mined": self.mined}
        if self.knows_truth:
            row["precision"] = round(self.right / self.mined, 4) if self.mined else None
            row["again"] = self.again
            row["recall"] = round(self.found / self.unlisted, 4) if self.unlisted else None
            row["unlisted"] = self.unlisted
        return row | {"top_scores": _summary(self.top), "fresh_scores": _summary(self.fresh)}


def _summary(scores: list[float]) -> dict[str, float]:
    """Mean and quantiles by name."""
    if not scores:
        return {}
    values = dict(zip((f"q{share:g}" for share in QUANTILES), np.quantile(scores, QUANTILES), strict=True))
    return {name: round(float(value), 4) for name, value in {"mean": np.mean(scores), **values}.items()}
