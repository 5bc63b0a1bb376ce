"""Masks as run lengths: COCO's uncompressed, column-major counts."""

from dataclasses import dataclass

import numpy as np

from napari_uld.errors import AnnotationError


@dataclass(frozen=True)
class Rle:
    """A 2D binary mask.

    Parameters
    ----------
    shape
        (height, width) in pixels.
    counts
        Lengths of alternating runs of 0 and 1, the first of 0 (it may be 0), column by column.

    Raises
    ------
    AnnotationError
        If the counts are negative or do not fill the shape.
    """

    shape: tuple[int, int]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        height, width = self.shape
        if min(height, width, *self.counts) < 0 or sum(self.counts) != height * width:
            raise AnnotationError(
                f"Run lengths must be non-negative and sum to {height} x {width}; they sum to {sum(self.counts)}"
            )


def encode(mask: np.ndarray) -> Rle:
    """Run lengths of a 2D mask; anything non-zero is 1."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]]))
    return Rle((int(mask.shape[0]), int(mask.shape[1])), tuple(int(c) for c in counts))


def decode(rle: Rle) -> np.ndarray:
    """Bool mask (height, width) of `rle`."""
    values = np.arange(len(rle.counts)) % 2 == 1
    return np.repeat(values, rle.counts).reshape(rle.shape, order="F")
