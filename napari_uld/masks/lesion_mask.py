"""One lesion's mask as a shape, whatever its measurement is worth: GrabCut's or ellipses, and how it came about."""

from enum import StrEnum

import numpy as np

from napari_uld.ct.windows import Window
from napari_uld.errors import BoxError, NoMaskError, RecistError
from napari_uld.lesions.recist import Recist
from napari_uld.masks import MaskKind
from napari_uld.masks.ellipse import ellipse_in_box, quarter_ellipse_mask
from napari_uld.masks.grabcut import ITERATIONS, MARGIN, grabcut_or_ellipse


class Origin(StrEnum):
    """How a lesion's mask came about."""

    GRABCUT = "grabcut"
    ELLIPSE = "ellipse"
    ELLIPSE_IN_BOX = "ellipse in the box"
    NONE = "none"


def lesion_mask(
    kind: MaskKind,
    hu: np.ndarray,
    box: object,
    recist: Recist | None,
    window: Window,
    *,
    iterations: int = ITERATIONS,
    margin: int = MARGIN,
) -> tuple[np.ndarray, Origin, str]:
    """Make the mask of one lesion: what training learns from, and what a person begins to correct.

    Where GrabCut gives none it is the quarter ellipses. A lesion without a RECIST that a mask can be made
    from gets the ellipse in its box, and an empty mask where there is none either: one odd row stops nothing.

    Parameters
    ----------
    kind
        GrabCut or ellipse; the soft maps are no shapes.
    hu
        (height, width) slice in Hounsfield units.
    box
        Pixel-centre box (x1, y1, x2, y2).
    recist
        The lesion's diameters, or None where nobody measured it.
    window
        (low, high) HU for GrabCut.
    iterations, margin
        Of GrabCut, see `grabcut_or_ellipse`.

    Returns
    -------
    mask
        bool array (height, width).
    origin
        How it came about.
    reason
        Why that is not the kind asked for, without this lesion's numbers; "" where it is.
    """
    shape = (hu.shape[0], hu.shape[1])
    reason = "no measurement"
    try:
        if recist is not None and kind is MaskKind.ELLIPSE:
            return quarter_ellipse_mask(recist, shape), Origin.ELLIPSE, ""
        if recist is not None:
            mask, reason = grabcut_or_ellipse(hu, recist, box, window, iterations=iterations, margin=margin)
            return mask, Origin.ELLIPSE if reason else Origin.GRABCUT, reason
    except NoMaskError as error:
        reason = error.reason
    except BoxError:
        reason = "malformed box"
    try:
        return ellipse_in_box(box, shape), Origin.ELLIPSE_IN_BOX, reason
    except (RecistError, BoxError):
        return np.zeros(shape, dtype=bool), Origin.NONE, f"{reason}, and no ellipse in the box"
