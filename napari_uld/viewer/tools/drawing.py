"""A RECIST drawn by hand: the long diameter by two clicks, the short one at a right angle to it by two more."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from napari.utils.notifications import show_info

from napari_uld.ct.measures import distance
from napari_uld.errors import UldError
from napari_uld.lesions.boxes import RECIST_MARGIN
from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Point, Recist
from napari_uld.lesions.right_angles import long_first, square_to
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.marks import RECIST_COLOUR, Drawn, Kind
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.canvas_tool import CanvasTool

# Shorter than this, in pixels of the scan, is no diameter but a click that was doubled.
NO_LENGTH = 0.5


class RecistDrawing(CanvasTool):
    """Measures the lesion at hand where it is drawn over its box, else makes a new lesion; then it is put down.

    Parameters
    ----------
    session
        The session whose lesions are measured.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._ends: list[Point] = []

    def start(self) -> None:
        """Let the next clicks draw."""
        if not self._session.is_axial and self._session.case is not None:
            show_info(review.AXIAL_ONLY)
        elif self._take():
            self._forget()
            show_info("Click both ends of the long diameter, then of the short one. Shift: not at a right angle.")

    # -- the mouse --

    def _click(self, voxel: np.ndarray, shift: bool) -> None:
        if len(self._ends) < 4:
            self._add(self._end_at(voxel, shift))
            self._show(self._ends)

    def _follow(self, voxel: np.ndarray, shift: bool) -> None:
        between = len(self._ends) in (1, 3)
        self._show([*self._ends, self._end_at(voxel, shift)] if between else self._ends)

    def _drop(self, voxel: np.ndarray, shift: bool) -> None:
        if len(self._ends) in (1, 3):
            self._add(self._end_at(voxel, shift))
            self._show(self._ends)

    def _let_up(self) -> None:
        if len(self._ends) == 4 and self._case is not None:
            self._finish(self._case)

    def _leave_slice(self) -> None:
        self._forget()
        if self._session.is_axial:
            self._show(())
        else:
            self.stop()

    def _forget(self) -> None:
        self._ends = []

    # -- the measurement --

    def _end_at(self, voxel: np.ndarray, free: bool) -> Point:
        point = (float(voxel[2]), float(voxel[1]))
        if len(self._ends) != 3 or free or self._case is None:
            return point
        return square_to((self._ends[0], self._ends[1]), self._ends[2], point, self._case.volume.spacing)

    def _add(self, end: Point) -> None:
        if len(self._ends) not in (1, 3) or np.hypot(*np.subtract(end, self._ends[-1])) > NO_LENGTH:
            self._ends.append(end)

    def _finish(self, case: Case) -> None:
        p1, p2, p3, p4 = self._ends
        recist = long_first(Recist((p1, p2), (p3, p4)), case.volume.spacing)
        row, z = self._measured(case, self._ends), self._session.z
        native = case.volume.native_slice(z)
        try:
            if row is None:
                key = case.add(z, recist.box(), recist).id
            else:
                key = row.key
                case.measure(key, recist, native)
        except UldError as error:
            show_info(f"This is no RECIST: {error}")
            self._ends.pop()
            self._show(self._ends)
            return
        self.stop()
        case.select(key)
        row = case.row(key)
        if row is not None:
            review.hold(self._session, row, Hold.RECIST, "direct")
        long, short = recist.millimetres(case.volume.spacing)
        show_info(f"{long:.1f} x {short:.1f} mm on slice {native}. Drag an end to correct it.")

    def _measured(self, case: Case, ends: Sequence[Point]) -> Row | None:
        """Give the lesion at hand where it lies on the slice that is shown and under what is drawn."""
        row = case.current
        box = None if row is None else row.boxes.get(case.volume.native_slice(self._session.z))
        return row if box is not None and ends and _meets(box, ends) else None

    def _show(self, ends: Sequence[Point]) -> None:
        case, z = self._case, self._session.z
        if case is None:
            return
        row = self._measured(case, ends)
        key = "" if row is None else row.key
        points = np.array([[z, y, x] for x, y in ends], float)
        pairs = [points[i : i + 2] for i in (0, 2) if i + 1 < len(ends)]
        lines = [Drawn(key, Kind.RECIST, pair, RECIST_COLOUR) for pair in pairs]
        if lines:
            lengths = sorted((distance(start, end, case.volume.spacing) for start, end in pairs), reverse=True)
            label = " x ".join(f"{length:.1f}" for length in lengths)
            lines[0] = self._beside(replace(lines[0], label=f"{label} mm"), points)
        self._draw(lines, unfinished=bool(ends))


def _meets(box: Box, ends: Sequence[Point]) -> bool:
    """Tell whether the box about some points comes as near to another as boxes are drawn about diameters."""
    low, high = np.min(ends, axis=0) - RECIST_MARGIN, np.max(ends, axis=0) + RECIST_MARGIN
    x1, y1, x2, y2 = box
    return bool(low[0] <= x2 and high[0] >= x1 and low[1] <= y2 and high[1] >= y1)
