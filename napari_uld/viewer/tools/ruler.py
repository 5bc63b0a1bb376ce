"""Distances and regions: measured on any slice, shown beside the drawing, no lesions, gone when put down."""

from dataclasses import dataclass, replace

import numpy as np
from napari.utils.notifications import show_info

from napari_uld.ct.measures import Outline, distance, statistics
from napari_uld.viewer.layers.directions import shown_axes
from napari_uld.viewer.layers.marks import Drawn, Kind, Plane
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools.canvas_tool import CanvasTool
from napari_uld.viewer.tools.tool import ToolName

COLOUR = "#5CFF5C"
# Corners of the polygon that an ellipse is drawn as.
CORNERS = 64


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured: the line that is drawn, and what is said of it in one line of text."""

    drawn: Drawn
    text: str


class Ruler(CanvasTool):
    """Measures until it is put down; what it measured stays on its slices until then.

    Parameters
    ----------
    session
        The session whose scan is measured.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.kind = ToolName.DISTANCE
        # What was measured last, or is being measured; "" where there is nothing.
        self.text = ""
        self._begun: np.ndarray | None = None
        self._kept: list[Drawn] = []

    def start(self, kind: ToolName) -> None:
        """Measure distances, or regions in ellipses or rectangles, from now on."""
        if self._session.case is not None and self._session.plane is None:
            show_info("Not in 3D: distances and regions are measured on slices.")
            return
        self.kind, self._begun = kind, None
        if self._take():
            self._draw(self._kept, unfinished=False)

    # -- the mouse --

    def _click(self, voxel: np.ndarray, shift: bool) -> None:
        if self._begun is None:
            self._begun = voxel
            self._follow(voxel, shift)
        else:
            self._drop(voxel, shift)

    def _follow(self, voxel: np.ndarray, _shift: bool) -> None:
        if self._begun is not None:
            found = self._measure(voxel)
            self._draw([*self._kept, *([found.drawn] if found else [])], unfinished=True)
            self._say(found.text if found else "")

    def _drop(self, voxel: np.ndarray, _shift: bool) -> None:
        found = self._measure(voxel)
        if found is not None:
            self._kept.append(found.drawn)
            self._begun = None
            self._draw(self._kept, unfinished=False)
            self._say(found.text)

    def _let_up(self) -> None:
        pass

    def _leave_slice(self) -> None:
        if self._session.plane is None:
            self.stop()
            return
        self._begun = None
        self._draw(self._kept, unfinished=False)

    def _forget(self) -> None:
        self._begun, self._kept, self.text = None, [], ""

    # -- the measurement --

    def _measure(self, voxel: np.ndarray) -> Measured | None:
        """Measure from where it was begun to here; None where there is nothing between."""
        case, plane = self._case, self._session.plane
        if case is None or plane is None or self._begun is None or np.allclose(voxel, self._begun):
            return None
        if self.kind is ToolName.DISTANCE:
            found = _distance(case, self._begun, voxel)
        else:
            found = _region(case, plane, Outline(self.kind.value), self._begun, voxel)
        return replace(found, drawn=self._beside(found.drawn, found.drawn.corners))

    def _say(self, text: str) -> None:
        if text != self.text:
            self.text = text
            self.changed.emit()


def _distance(case: Case, start: np.ndarray, end: np.ndarray) -> Measured:
    length = f"{distance(start, end, case.volume.spacing):.1f} mm"
    return Measured(Drawn("", Kind.RECIST, np.array([start, end]), COLOUR, label=length), f"Distance {length}")


def _region(case: Case, plane: Plane, outline: Outline, start: np.ndarray, end: np.ndarray) -> Measured:
    down, along = shown_axes(plane.axis)
    corners = _outlined(outline, plane, start, end)
    image = np.moveaxis(case.phases.shown.hu, plane.axis, 0)[plane.index]
    pixel = (case.volume.spacing[down], case.volume.spacing[along])
    found = statistics(image, ((start[down], start[along]), (end[down], end[along])), pixel, outline)
    if found is None:
        return Measured(Drawn("", Kind.RECIST, corners, COLOUR), "")
    label = f"{found.mean:.0f} ± {found.sd:.0f} HU\n{found.low} to {found.high} HU\n{found.area:.1f} mm²"
    text = (
        f"{outline.value.capitalize()}: mean {found.mean:.1f}, SD {found.sd:.1f}, min {found.low}, "
        f"max {found.high} HU, area {found.area:.1f} mm²"
    )
    return Measured(Drawn("", Kind.RECIST, corners, COLOUR, label=label), text)


def _outlined(outline: Outline, plane: Plane, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Corners (n, 3) of a region between two opposite corners on a slice, in voxels (z, y, x)."""
    middle, half = (start + end) / 2, np.abs(end - start) / 2
    if outline is Outline.RECTANGLE:
        unit = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], float)
    else:
        turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        unit = np.column_stack([np.sin(turn), np.cos(turn)])
    corners = np.tile(middle, (len(unit), 1))
    axes = list(shown_axes(plane.axis))
    corners[:, axes] += unit * half[axes]
    corners[:, plane.axis] = plane.index
    return corners
