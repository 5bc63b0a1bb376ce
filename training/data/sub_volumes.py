"""Whole scans of which every lesion is known, to be searched slice by slice and traced."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .key_slices import Split
from .known_scan import KnownScan
from .phantom.truth import read_truth
from .studies import split_studies


@dataclass(frozen=True, eq=False)
class SubVolume(KnownScan):
    """A scan, and a box of every lesion in it on the slice where that is largest.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    series
        "000001_01_01".
    boxes
        (n, 4) native pixel-centre boxes, with DeepLesion's margin.
    slices
        (n,) native numbers of their slices.
    """

    slices: np.ndarray


def sub_volumes(root: Path, split: Split) -> list[SubVolume]:
    """All phantom studies of a split, those without a lesion among them, each by its first series.

    Raises
    ------
    DataError
        If there is none.
    """
    return [_of_series(root, study[0]) for study in split_studies(root, split)]


def _of_series(root: Path, series: str) -> SubVolume:
    lesions = read_truth(root, series)
    boxes = np.asarray([lesion.boxes[lesion.key_slice] for lesion in lesions], np.float64).reshape(-1, 4)
    return SubVolume(root, series, boxes, np.asarray([lesion.key_slice for lesion in lesions], int))
