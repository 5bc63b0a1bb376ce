"""Every lesion's box on every slice, where the whole truth is known."""

from pathlib import Path

import numpy as np

from .phantom.truth import read_truth


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
