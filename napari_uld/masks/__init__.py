"""Pseudo masks made from boxes and RECIST: bounding maps, quarter ellipses, GrabCut."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from napari_uld.ct.windows import Window
from napari_uld.errors import RecistError
from napari_uld.lesions.boxes import as_boxes
from napari_uld.lesions.recist import Recist
from napari_uld.masks.bounding_map import MEDIUM_AREA, SMALL_AREA, Combine, adaptive_bounding_map, bounding_map
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.grabcut import ITERATIONS, MARGIN, grabcut_or_ellipse

__all__ = ["INSIDE", "MaskKind", "MaskParameters", "pseudo_mask"]

# A pixel belongs to a mask from this value on, of a predicted map or of a resampled mask.
INSIDE = 0.5


class MaskKind(StrEnum):
    """The pseudo masks there are."""

    BM = "bm"
    ABM = "abm"
    ELLIPSE = "ellipse"
    GRABCUT = "grabcut"

    @property
    def needs_recist(self) -> bool:
        """Whether a box alone is not enough."""
        return self in (MaskKind.ELLIPSE, MaskKind.GRABCUT)


@dataclass(frozen=True)
class MaskParameters:
    """What can be set about pseudo masks.

    Parameters
    ----------
    small, medium
        ABM: a box below `small` px^2 gets a flat map, one from `medium` px^2 on a steep one;
        areas of the padded box in px^2 of .8 mm.
    combine
        BM and ABM: how overlapping lesions add up, "sum" (at most 1) or "max".
    iterations
        GrabCut: rounds of fitting and cutting.
    margin
        GrabCut: pixels of background about the box.
    """

    small: float = SMALL_AREA
    medium: float = MEDIUM_AREA
    combine: Combine = "sum"
    iterations: int = ITERATIONS
    margin: int = MARGIN


def pseudo_mask(
    kind: MaskKind,
    hu: np.ndarray,
    pixel_area: float,
    boxes: object,
    recists: Sequence[Recist | None],
    window: Window,
    parameters: MaskParameters | None = None,
) -> np.ndarray:
    """Give one pseudo mask for all lesions of a slice.

    Parameters
    ----------
    kind
        Which mask.
    hu
        (height, width) slice in Hounsfield units.
    pixel_area
        Area of its pixels in mm^2.
    boxes
        (n, 4) pixel-centre boxes of the slice's lesions.
    recists
        Their RECISTs, n of them, None where there is none.
    window
        (low, high) HU for GrabCut.
    parameters
        Defaults where None.

    Returns
    -------
    float32 array (height, width) in [0, 1]; of 0 and 1 for the kinds that are no soft maps.

    Raises
    ------
    BoxError
        If a box is malformed.
    RecistError
        If the kind needs a RECIST and a lesion has none, or one that no mask can be made from.
    """
    chosen = parameters or MaskParameters()
    rows = as_boxes(boxes)
    shape = (hu.shape[0], hu.shape[1])
    if kind is MaskKind.BM:
        return bounding_map(rows, shape, combine=chosen.combine)
    if kind is MaskKind.ABM:
        return adaptive_bounding_map(
            rows, shape, pixel_area=pixel_area, small=chosen.small, medium=chosen.medium, combine=chosen.combine
        )
    mask = np.zeros(shape, dtype=bool)
    for row, recist in zip(rows, recists, strict=True):
        if recist is None:
            raise RecistError(
                f"The {kind.value} mask needs a RECIST and the lesion at {row.round(1).tolist()} has none: "
                "measure its two diameters, or choose bm or abm, which need the box alone"
            )
        if kind is MaskKind.ELLIPSE:
            mask |= quarter_ellipse_mask(recist, shape)
        else:
            mask |= grabcut_or_ellipse(hu, recist, row, window, iterations=chosen.iterations, margin=chosen.margin)[0]
    return mask.astype(np.float32)
