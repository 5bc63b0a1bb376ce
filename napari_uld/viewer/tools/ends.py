"""The ends of the diameters in hand, dragged: the short diameter stays at a right angle to the long one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.utils.notifications import show_info

from napari_uld.errors import UldError
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.right_angles import long_first, with_end
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.marks import COLOURS, Drawn, Kind, rectangle
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import voxel_of
from napari_uld.viewer.layers.sketch import Sketch
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row
from napari_uld.viewer.tools.reading import LEFT, kept_still

# How near to an end the mouse takes it, in pixels of the screen.
NEAR = 8.0


class EndDragger:
    """Drags the ends of the diameters in hand, over a viewer whose session has a scan open.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        session.viewer.mouse_drag_callbacks.append(self.press)

    def press(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """Drag the end that is pressed on, with Shift it alone; when it is let go, that is one edit."""
        session, case, row = self._session, self._session.case, self._row()
        end = None if case is None or row is None else self._end_at(event, case, row)
        if end is None or case is None or row is None or row.recist is None:
            return
        event.handled = True
        moved = row.recist
        with kept_still(viewer):
            yield
            while event.type == "mouse_move":
                x, y = self._point(event, case)
                moved = with_end(row.recist, end, (x, y), case.volume.spacing, free="Shift" in event.modifiers)
                self._show(case, row, moved)
                yield
        if session.marking is not None and session.case is case:
            session.marking.draw(Sketch())
            self._keep(case, row, moved)

    def _row(self) -> Row | None:
        """The lesion whose diameters are in hand, to be dragged by their ends on the slice that is shown."""
        session, marking = self._session, self._session.marking
        layer = session.layer(Part.HAND)
        if session.case is None or marking is None or marking.held is None or layer is None or not layer.visible:
            return None
        in_hand = session.viewer.layers.selection.active is layer and getattr(layer, "mode", "") == "direct"
        row = session.case.row(marking.held.key) if in_hand and marking.held.what is Hold.RECIST else None
        return row if row is not None and session.is_axial else None

    def _end_at(self, event: Any, case: Case, row: Row) -> int | None:
        """Which end (0 and 1 of the long diameter, 2 and 3 of the short one) is pressed on."""
        if event.button != LEFT or set(event.modifiers) - {"Shift"} or row.recist is None:
            return None
        apart = (row.recist.points - self._point(event, case)) * (case.volume.spacing[2], case.volume.spacing[1])
        pixels = np.hypot(*apart.T) * self._session.viewer.scene.camera.zoom
        nearest = int(pixels.argmin())
        return nearest if pixels[nearest] <= NEAR else None

    def _point(self, event: Any, case: Case) -> tuple[float, float]:
        ct, (_, height, width) = self._session.layer(Part.CT), case.volume.shape
        if ct is None:
            return 0.0, 0.0
        _, y, x = voxel_of(ct, event.position)
        return float(np.clip(x, -0.5, width - 0.5)), float(np.clip(y, -0.5, height - 0.5))

    def _show(self, case: Case, row: Row, moved: Recist) -> None:
        marking = self._session.marking
        if marking is not None:
            long, short = sorted(moved.millimetres(case.volume.spacing), reverse=True)
            kind = Kind.DETECTIONS if row.annotation is None else Kind.LESIONS
            box = rectangle(self._session.z, moved.box())
            label = f"{long:.1f} x {short:.1f} mm"
            marking.show_dragged(moved)
            outline = Drawn(row.key, kind, box, COLOURS[row.mark], thick=True, label=label)
            marking.draw(Sketch((outline,), in_hand=True, unfinished=True))

    def _keep(self, case: Case, row: Row, moved: Recist) -> None:
        """Make what was dragged an edit; what is refused goes back to where it was."""
        marking = self._session.marking
        if marking is None:
            return
        try:
            if row.recist is not None and not np.allclose(moved.points, row.recist.points):
                case.measure(row.key, long_first(moved, case.volume.spacing))
        except UldError as error:
            show_info(f"The lesion stays as it was: {error}")
        marking.hold(case.row(row.key) or row, Hold.RECIST, "direct")
