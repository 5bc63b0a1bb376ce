"""Pointing at lesions: the one under the mouse says what it is, a click takes it in hand."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel

from napari_uld.viewer.layers.hand import DRAWING
from napari_uld.viewer.layers.marks import Drawn, Kind
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import voxel_of
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools.reading import LEFT


class Pointer:
    """Follows the mouse over a viewer whose session has a scan open, where slices are shown.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        session.viewer.mouse_move_callbacks.append(self.move)
        session.viewer.mouse_drag_callbacks.append(self.press)

    def move(self, _viewer: ViewerModel, event: Any) -> None:
        """Label what is pointed at."""
        marking = self._session.marking
        if marking is not None:
            marking.point(None if marking.sketch.in_hand else self._at(event.position))

    def press(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """Take in hand what is clicked on, unless the click draws, paints or drags."""
        marking, active = self._session.marking, viewer.layers.selection.active
        if marking is None or event.button != LEFT or set(event.modifiers) or marking.held is DRAWING:
            return
        if marking.sketch.in_hand:
            return
        if getattr(active, "mode", "pan_zoom") not in ("pan_zoom", "select", "direct"):
            return
        key = self._at(event.position)
        yield
        if event.type == "mouse_move":
            return
        case = self._session.case
        if key is not None and case is not None and (case.current is None or case.current.key != key):
            case.select(key)

    def _at(self, position: Sequence[float]) -> str | None:
        """The lesion at a position in the world: the smallest whose box holds it."""
        session, ct = self._session, self._session.layer(Part.CT)
        if session.plane is None or session.marking is None or ct is None:
            return None
        return smallest_at(session.marking.drawn, voxel_of(ct, position), session.plane.axis)


def smallest_at(drawn: Sequence[Drawn], voxel: np.ndarray, across: int) -> str | None:
    """Give the key of the smallest box that holds a voxel (z, y, x) on the slice across one axis, or None."""
    axes = [axis for axis in range(3) if axis != across]
    best, area = None, np.inf
    for each in drawn:
        if each.kind is Kind.RECIST:
            continue
        low, high = each.corners[:, axes].min(axis=0), each.corners[:, axes].max(axis=0)
        size = float(np.prod(high - low))
        if (low <= voxel[axes]).all() and (voxel[axes] <= high).all() and size < area:
            best, area = each.key, size
    return best
