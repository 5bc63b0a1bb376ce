"""Which markings are of the same lesion, whoever made them."""

from collections.abc import Sequence

import numpy as np

from napari_uld.lesions.boxes import Box, iou
from napari_uld.lesions.findings import SliceBoxes

# Two markings whose boxes overlap by this IoU on a slice that both were traced through are of the same lesion. It is
# the least that joins no listed lesion of phantoms with a detection of something else, and it finds 997 of 1,000 pairs
# of detections (benchmarks/bench_same_lesion.py). IoBB, which a small box in a large one has too, joins two lesions.
SAME_LESION = 0.3


def traced_iou(
    a: Sequence[SliceBoxes], b: Sequence[SliceBoxes], least: float = SAME_LESION
) -> dict[tuple[int, int], float]:
    """Highest IoU on a slice that both were traced through, of every pair (row of a, row of b) that has `least`.

    Pairs instead of a matrix: of thousands of traced boxes few meet.

    Parameters
    ----------
    a, b
        For each lesion its box on each slice, by native number; one that is known on one slice has one box.
    least
        Above 0.
    """
    on_slice = [_by_slice(tracklets) for tracklets in (a, b)]
    best: dict[tuple[int, int], float] = {}
    for native in on_slice[0].keys() & on_slice[1].keys():
        (rows, boxes), (columns, others) = (part[native] for part in on_slice)
        overlaps = iou(np.asarray(boxes), np.asarray(others))
        for i, j in zip(*np.nonzero(overlaps >= least), strict=True):
            pair = rows[i], columns[j]
            best[pair] = max(best.get(pair, 0.0), float(overlaps[i, j]))
    return best


def _by_slice(tracklets: Sequence[SliceBoxes]) -> dict[int, tuple[list[int], list[Box]]]:
    """Rows and boxes of all that is traced through a slice, by native number."""
    found: dict[int, tuple[list[int], list[Box]]] = {}
    for row, boxes in enumerate(tracklets):
        for native, box in boxes.items():
            rows, on_it = found.setdefault(native, ([], []))
            rows.append(row)
            on_it.append(box)
    return found
