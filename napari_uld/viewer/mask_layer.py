"""Pseudo masks as an overlay, painted slice by slice as slices come into view."""

import numpy as np
from napari.layers import Image

from napari_uld.errors import RecistError
from napari_uld.masks import MaskKind, MaskParameters, pseudo_mask
from napari_uld.viewer.case import Case
from napari_uld.viewer.layers import series_window
from napari_uld.viewer.rows import Mark, Row


class MaskPainter:
    """Keeps the mask layer of a case true to its lesions, on the slice that is shown.

    Parameters
    ----------
    case
        The open scan.
    layer
        Its mask layer: uint8 (z, y, x), 255 where the mask is 1.
    """

    def __init__(self, case: Case, layer: Image) -> None:
        self.case = case
        self.layer = layer
        self.kind = MaskKind.BM
        self.parameters = MaskParameters()
        self.problem = ""
        self._painted: set[int] = set()

    def choose(self, kind: MaskKind, parameters: MaskParameters, z: int) -> None:
        """Paint another kind of mask from now on, and at once on slice `z`."""
        self.kind, self.parameters = kind, parameters
        self.repaint(z)

    def repaint(self, z: int) -> None:
        """Forget every slice and paint slice `z` again: the lesions changed."""
        for old in self._painted - {z}:
            self.layer.data[old] = 0
        self._painted.clear()
        self.paint(z)

    def paint(self, z: int) -> None:
        """Paint slice `z` unless that was done already."""
        if z in self._painted or not 0 <= z < len(self.layer.data):
            return
        mask, self.problem = self._mask(z)
        if mask is None:
            self.layer.data[z] = 0
        else:
            self.layer.data[z] = np.rint(mask * 255).astype(np.uint8)
        self._painted.add(z)
        self.layer.refresh()

    def _mask(self, z: int) -> tuple[np.ndarray | None, str]:
        """Give the mask of slice `z`, or None where there is nothing to mask, and what went wrong."""
        rows = [row for row in self.case.rows if self._masked(row, z)]
        problem = ""
        if self.kind.needs_recist:
            bare = [row for row in rows if row.recist is None]
            rows = [row for row in rows if row.recist is not None]
            if bare:
                problem = f"{len(bare)} on this slice without RECIST: {self.kind.value} needs one"
        if not rows:
            return None, problem
        window = series_window(self.case)
        try:
            mask = pseudo_mask(
                self.kind,
                self.case.volume.hu[z],
                [row.box for row in rows],
                [row.recist for row in rows],
                window,
                self.parameters,
            )
        except RecistError as error:
            return None, str(error)
        return mask, problem

    def _masked(self, row: Row, z: int) -> bool:
        """Tell whether a row's mask is shown on slice `z`: on its key slice, once accepted or while at hand."""
        at_hand = self.case.current is not None and self.case.current.key == row.key
        shown = row.mark in (Mark.EXPERT, Mark.ACCEPTED) or at_hand
        return shown and row.native == self.case.volume.native_slice(z)
