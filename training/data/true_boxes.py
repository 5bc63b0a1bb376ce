"""Every lesion's box on every slice, where the whole truth is known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_uld.lesions.findings import Box
from napari_uld.lesions.rle import decode

from .phantom.truth import TrueLesion, read_truth


def tight_box(masks: Mapping[int, np.ndarray]) -> list[float]:
    """(x1, y1, z1, x2, y2, z2) about the voxels of a lesion, half a voxel beyond the outermost centres.

    Parameters
    ----------
    masks
        By z: (h, w) bool, the lesion on that slice.
    """
    anywhere = np.any(list(masks.values()), axis=0)
    rows, columns = np.flatnonzero(anywhere.any(axis=1)), np.flatnonzero(anywhere.any(axis=0))
    low = [columns[0], rows[0], min(masks)]
    high = [columns[-1], rows[-1], max(masks)]
    return [*(edge - 0.5 for edge in low), *(edge + 0.5 for edge in high)]


def box_on(lesion: TrueLesion, number: int, *, tight: bool) -> Box:
    """A lesion's box on a slice that it is on: tight about its voxels there, or with DeepLesion's margin."""
    if not tight:
        return lesion.boxes[number]
    x1, y1, _, x2, y2, _ = tight_box({number: decode(lesion.masks[number])})
    return x1, y1, x2, y2


class TrueBoxes:
    """The boxes of all lesions on single slices, each series read once.

    Parameters
    ----------
    root
        Folder of phantoms.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._series: dict[str, dict[int, np.ndarray]] = {}

    def of_series(self, series: str) -> dict[int, np.ndarray]:
        """By native number (n, 4) native pixel-centre boxes, for slices that show any.

        Raises
        ------
        DataError
            If there is no truth for the series.
        """
        if series not in self._series:
            boxes: dict[int, list[tuple[float, ...]]] = {}
            for lesion in read_truth(self.root, series):
                for number, box in lesion.boxes.items():
                    boxes.setdefault(number, []).append(box)
            self._series[series] = {number: np.asarray(on_slice) for number, on_slice in boxes.items()}
        return self._series[series]

    def on(self, series: str, number: int) -> np.ndarray:
        """(n, 4) native pixel-centre boxes on one slice."""
        return self.of_series(series).get(number, np.zeros((0, 4)))
