"""Slices that show no lesion: what detectors see most of in a scan, and key slices never are."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from napari_uld.ct.deeplesion import slices_on_disk
from napari_uld.ct.dl_info import DlInfoRow, read_dl_info
from napari_uld.errors import DataError

from .key_slices import SPLITS, KeySlice, Spacing, Split
from .phantom.truth import FOLDER as TRUTH_FOLDER
from .true_boxes import TrueBoxes

# Where the whole truth is not known a slice is free that lies so many mm beyond every listed lesion of its series, a
# lesion being taken to reach along z as far as in the plane.
CLEARANCE_MM = 30.0


def lesion_free_slices(root: Path, split: Split) -> list[KeySlice]:
    """Slices without a lesion of the series that ``DL_info.csv`` lists, as key slices without boxes.

    Where the whole truth is known it decides; elsewhere `CLEARANCE_MM` does, and some may show what nobody listed.

    Raises
    ------
    DataError
        If there is none.
    """
    truth = TrueBoxes(root) if (root / TRUTH_FOLDER).is_dir() else None
    free = []
    for series, rows in sorted(read_dl_info(root / "DL_info.csv").by_series.items()):
        if (split != "all" and rows[0].split != SPLITS[split]) or not (root / "Images_png" / series).is_dir():
            continue
        numbers = slices_on_disk(root, series)
        taken = set(truth.of_series(series)) if truth is not None else _near_lesions(rows, numbers)
        window, spacing = rows[0].window, rows[0].spacing
        nothing = np.zeros((0, 4))
        free += [KeySlice(series, n, spacing, nothing, (), window) for n in sorted(set(numbers) - taken)]
    if not free:
        raise DataError(
            f"{root} holds no slice of the split {split!r} that shows no lesion, or lies far enough from one: "
            "lesion_free must be 0"
        )
    return free


def _near_lesions(rows: Sequence[DlInfoRow], numbers: Sequence[int]) -> set[int]:
    boxes = [row.numbers["Bounding_boxes"] for row in rows]
    near: set[int] = set()
    for row, box in zip(rows, boxes, strict=True):
        near |= {n for n in numbers if _is_near(n, row.key_slice, box, row.spacing)}
    return near


def _is_near(number: int, key: int, box: Sequence[float], spacing: Spacing) -> bool:
    """Whether a lesion that is known on one slice may reach another, or comes near it."""
    x1, y1, x2, y2 = box
    reach = CLEARANCE_MM + max(x2 - x1, y2 - y1) * spacing[1] / 2
    return abs(number - key) * spacing[0] <= reach


def clear_of(slices: Sequence[KeySlice], free: Sequence[KeySlice]) -> list[KeySlice]:
    """Leave out of slices that a table calls free those that lesions of key slices may reach, or come near."""
    keys: dict[str, list[KeySlice]] = {}
    for key in slices:
        keys.setdefault(key.series, []).append(key)
    return [
        one
        for one in free
        if not any(
            _is_near(one.number, key.number, box, key.spacing)
            for key in keys.get(one.series, ())
            for box in key.boxes.tolist()
        )
    ]


class MixedBatches:
    """Batches of indices of an epoch: all ordinary images once, in random order, and a share of lesion-free ones.

    Parameters
    ----------
    ordinary, free
        Indices of either.
    batch
        Images of a batch.
    share
        Of them the free ones; where it comes to no whole number, on average over the batches.
    generator
        Of the order.
    """

    def __init__(
        self, ordinary: list[int], free: list[int], *, batch: int, share: float, generator: torch.Generator
    ) -> None:
        self.ordinary = ordinary
        self.free = free
        self.batch = batch
        self.share = share
        self.generator = generator

    def __iter__(self) -> Iterator[list[int]]:
        order = [self.ordinary[i] for i in torch.randperm(len(self.ordinary), generator=self.generator).tolist()]
        number, taken = 0, 0
        while taken < len(order):
            free = free_in(number, self.batch, self.share)
            drawn = torch.randint(len(self.free), (free,), generator=self.generator).tolist()
            ordinary = order[taken : taken + self.batch - free]
            yield ordinary + [self.free[i] for i in drawn]
            taken += len(ordinary)
            number += 1

    def __len__(self) -> int:
        return batches_of(len(self.ordinary), self.batch, self.share)


def free_in(number: int, batch: int, share: float) -> int:
    """How many images of the batch of that number are lesion-free; at least one is not."""
    free = math.floor((number + 1) * batch * share + 1e-9) - math.floor(number * batch * share + 1e-9)
    return min(free, batch - 1)


def batches_of(ordinary: int, batch: int, share: float) -> int:
    """How many batches it takes to see all ordinary images."""
    if not share:
        return math.ceil(ordinary / batch)
    number, seen = 0, 0
    while seen < ordinary:
        seen += batch - free_in(number, batch, share)
        number += 1
    return number
