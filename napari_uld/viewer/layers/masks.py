"""Masks as an overlay, painted slice by slice as slices come into view: the generated ones, and a person's own."""

from collections.abc import Callable

import numpy as np
from napari.layers import Image

from napari_uld.errors import AnnotationError, NoMaskError
from napari_uld.lesions.rle import decode
from napari_uld.masks import MaskKind, MaskParameters, pseudo_mask
from napari_uld.masks.lesion_mask import Origin, lesion_mask
from napari_uld.viewer.layers.eye import Eye
from napari_uld.viewer.layers.scan import series_window
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark, Row

_IN_WORDS = {
    Origin.GRABCUT: "GrabCut's mask",
    Origin.ELLIPSE: "the quarter ellipses",
    Origin.ELLIPSE_IN_BOX: "the ellipse in the box",
    Origin.NONE: "an empty mask",
}


class MaskPainter:
    """Keeps the mask layer of a case true to its lesions, on the slice that is shown.

    A mask that a person painted is shown whatever kind is chosen. The layer is hidden where there is no mask.

    Parameters
    ----------
    case
        The open scan.
    layer
        Its mask layer: uint8 (z, y, x), 255 where the mask is 1.
    shown
        Gives the slice that is shown, None where slices are not shown as they were taken.
    """

    def __init__(self, case: Case, layer: Image, *, shown: Callable[[], int | None]) -> None:
        self.case = case
        self.layer = layer
        self.eye = Eye(layer, self.turned)
        self.kind = MaskKind.BM
        self.parameters = MaskParameters()
        self.problem = ""
        self._shown = shown
        self._left_out: str | None = None
        # Slices that were painted, and whether there is a mask on them.
        self._painted: dict[int, bool] = {}

    def choose(self, kind: MaskKind, parameters: MaskParameters) -> None:
        """Paint another kind of mask from now on."""
        self.kind, self.parameters = kind, parameters
        self.repaint()

    def leave_out(self, key: str | None) -> None:
        """Leave one lesion's mask to a layer of its own (None: none)."""
        if key != self._left_out:
            self._left_out = key
            self.repaint()

    def release(self) -> None:
        """Follow the layer no more."""
        self.eye.release()

    def repaint(self) -> None:
        """Forget every slice and paint the one that is shown again: the lesions changed."""
        for painted, masked in self._painted.items():
            if masked:
                self.layer.data[painted] = 0
        self._painted.clear()
        self.turned()

    def turned(self) -> None:
        """Paint the slice that is shown unless that was done already."""
        z, seen = self._shown(), self.layer.visible
        if z is None:
            self.eye.show(False)
            return
        if z not in self._painted:
            mask, self.problem = self._mask(z)
            self._painted[z] = bool(mask.any())
            # Zeros are there already, and writing them would take memory for every slice that is scrolled over.
            if self._painted[z]:
                self.layer.data[z] = np.rint(mask * 255).astype(np.uint8)
            fresh = True
        else:
            fresh = False
        self.eye.show(self._painted[z])
        if fresh and seen and self.layer.visible:
            self.layer.refresh(extent=False)

    def _mask(self, z: int) -> tuple[np.ndarray, str]:
        """Give the mask of slice `z`, and what went wrong."""
        rows = [row for row in self.case.rows if self._masked(row, z)]
        generated = [row for row in rows if row.corrected_mask is None]
        mask, problems = generated_mask(self.case, z, generated, self.kind, self.parameters)
        for row in rows:
            try:
                painted = painted_mask(self.case, row)
            except AnnotationError as error:
                problems.append(str(error))
            else:
                mask = mask if painted is None else np.maximum(mask, painted)
        return mask, "\n".join(problems)

    def _masked(self, row: Row, z: int) -> bool:
        """Tell whether a row's mask is shown on slice `z`: on its key slice, once accepted or while at hand."""
        at_hand = self.case.current is not None and self.case.current.key == row.key
        shown = row.mark in (Mark.EXPERT, Mark.ACCEPTED) or at_hand
        return shown and row.key != self._left_out and row.native == self.case.volume.native_slice(z)


def generated_mask(
    case: Case, z: int, rows: list[Row], kind: MaskKind, parameters: MaskParameters
) -> tuple[np.ndarray, list[str]]:
    """Give the pseudo mask (height, width) in [0, 1] of a slice's lesions, and what went wrong.

    A lesion that no mask can be made of stops none of the others.
    """
    hu, window = case.volume.hu[z], series_window(case)
    if not kind.needs_recist:
        boxes, recists = [row.box for row in rows], [row.recist for row in rows]
        return pseudo_mask(kind, hu, case.volume.pixel_area, boxes, recists, window, parameters), []
    mask, refused = np.zeros(hu.shape, np.float32), []
    measured = [row for row in rows if row.recist is not None]
    for row in measured:
        try:
            lesion = pseudo_mask(kind, hu, case.volume.pixel_area, [row.box], [row.recist], window, parameters)
        except NoMaskError as error:
            x1, y1, x2, y2 = row.box
            refused.append(f"x {(x1 + x2) / 2:.0f}, y {(y1 + y2) / 2:.0f} ({error.reason})")
        else:
            mask = np.maximum(mask, lesion)
    problems = []
    if len(measured) < len(rows):
        problems.append(f"{len(rows) - len(measured)} on this slice without RECIST: {kind.value} needs one")
    if refused:
        problems.append(f"No {kind.value} mask at {'; '.join(refused)}: measure again, or choose bm or abm")
    return mask, problems


def mask_to_correct(case: Case, z: int, row: Row, kind: MaskKind, parameters: MaskParameters) -> tuple[np.ndarray, str]:
    """Give the mask that a person begins to correct, bool (height, width), and say which it is.

    The kind that is chosen where that is a shape. A soft map is none, at least one half in all of the box:
    GrabCut takes its place.
    """
    mask, origin, reason = lesion_mask(
        kind if kind.needs_recist else MaskKind.GRABCUT,
        case.volume.hu[z],
        row.box,
        row.recist,
        series_window(case),
        iterations=parameters.iterations,
        margin=parameters.margin,
    )
    if origin is Origin.ELLIPSE and reason:
        reason = f"GrabCut gave no mask: {reason}"
    return mask, f"{_IN_WORDS[origin]} ({reason})" if reason else _IN_WORDS[origin]


def painted_mask(case: Case, row: Row) -> np.ndarray | None:
    """Give the mask that a person painted for a lesion, bool (height, width), or None where there is none.

    Raises
    ------
    AnnotationError
        If it is of another size than the scan's slices.
    """
    mask, shape = row.corrected_mask, case.volume.hu.shape[1:]
    if mask is None:
        return None
    if mask.shape != shape:
        raise AnnotationError(
            f"The corrected mask on slice {row.native} has {mask.shape[0]} x {mask.shape[1]} pixels, the slice has "
            f"{shape[0]} x {shape[1]}; it is not shown. Use the generated mask again, or paint another"
        )
    return decode(mask)
