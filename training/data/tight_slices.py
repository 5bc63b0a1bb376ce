"""Slices of phantoms with boxes that are tight about the voxels of the lesions on them, listed or not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_uld.ct.dl_info import read_dl_info
from napari_uld.errors import DataError
from napari_uld.lesions.rle import decode

from .key_slices import SOFT_TISSUE, KeySlice, Split, split_series, true_slices
from .phantom.truth import TrueLesion, read_spacing, read_truth
from .volume_dataset import tight_box


def tight_slices(root: Path, split: Split) -> list[KeySlice]:
    """The key slices of `true_slices`, their boxes tight.

    Raises
    ------
    DataError
        If `root` holds no phantoms.
    """
    lesions: dict[str, list[TrueLesion]] = {}
    slices = []
    for key in true_slices(root, split):
        if key.series not in lesions:
            lesions[key.series] = read_truth(root, key.series)
        slices.append(replace(key, boxes=_boxes_on(lesions[key.series], key.number)))
    return slices


def shown_slices(root: Path, split: Split) -> tuple[list[KeySlice], list[np.ndarray]]:
    """Every slice that shows a lesion, with the boxes of all that it shows.

    Returns
    -------
    slices, by_lesion
        The slices, not measured; and for each lesion the indices of those that show it.

    Raises
    ------
    DataError
        If `root` holds no phantoms, or none with a lesion.
    """
    listed = read_dl_info(root / "DL_info.csv").by_series
    slices: list[KeySlice] = []
    by_lesion: list[np.ndarray] = []
    for series in split_series(root, split):
        spacing, lesions = read_spacing(root, series), read_truth(root, series)
        window = listed[series][0].window if series in listed else SOFT_TISSUE
        index_of = {}
        for number in sorted({number for lesion in lesions for number in lesion.masks}):
            boxes = _boxes_on(lesions, number)
            index_of[number] = len(slices)
            slices.append(KeySlice(series, number, spacing, boxes, (None,) * len(boxes), window))
        by_lesion += [np.asarray([index_of[number] for number in sorted(lesion.masks)]) for lesion in lesions]
    if not slices:
        raise DataError(f"{root} holds no phantom of the split {split!r} with a lesion")
    return slices, by_lesion


def _boxes_on(lesions: Sequence[TrueLesion], number: int) -> np.ndarray:
    """(n, 4) native pixel-centre boxes of those that are on a slice, half a voxel beyond the outermost centres."""
    boxes = [tight_box({number: decode(each.masks[number])}) for each in lesions if number in each.masks]
    return np.asarray(boxes)[:, [0, 1, 3, 4]]
