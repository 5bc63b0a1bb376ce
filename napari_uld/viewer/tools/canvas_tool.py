"""Tools that draw on slices by clicks: what each of them does with the mouse, however it is clicked or dragged."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.utils.notifications import show_info

from napari_uld.viewer.layers.marks import Drawn, Plane
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.scan import voxel_of
from napari_uld.viewer.layers.sketch import Sketch, beside
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools.reading import LEFT, kept_still
from napari_uld.viewer.tools.tool import Tool

# A press that moves further than this, in pixels of the screen, before it ends is a drag: both ends of a line.
A_DRAG = 5.0


class CanvasTool(Tool):
    """Its clicks on slices are its own, from when it is taken until it, or whatever is in hand, is put down.

    Parameters
    ----------
    session
        The session whose scan it draws on.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._plane: Plane | None = None
        session.viewer.mouse_move_callbacks.append(self.move)
        session.viewer.mouse_drag_callbacks.append(self.press)
        session.put_down.connect(self.stop)

    @property
    def on(self) -> bool:
        """Whether clicks are this tool's."""
        return self._case is not None

    def stop(self) -> None:
        """Put it down; what it has drawn vanishes."""
        if not self.on:
            return
        case, self._case = self._case, None
        self._links.release()
        self._forget()
        viewer = self._session.viewer
        active = viewer.layers.selection.active
        viewer.cursor.style = "standard" if active is None else active.cursor
        if self._session.marking is not None and self._session.case is case:
            self._session.marking.draw(Sketch())
        self.changed.emit()

    def _take(self) -> bool:
        """Take it in hand, unless it is already; tell whether there is a scan to draw on."""
        session, case, marking = self._session, self._session.case, self._session.marking
        if case is None or marking is None:
            show_info("Open a scan first.")
            return False
        if case.reading is not None:
            show_info("The scan is still being read: measure once all of it is there.")
            return False
        self.taken.emit(self)
        marking.let_go()
        marking.open_eyes()
        session.viewer.layers.selection.active = session.layer(Part.CT)
        session.viewer.cursor.style = "cross"
        if not self.on:
            self._case, self._plane = case, session.plane
            self._links.connect(session.case_changed, self.stop)
            self._links.connect(session.view_changed, self._turned)
        self._draw((), unfinished=False)
        self.changed.emit()
        return True

    # -- what the mouse does --

    def move(self, _viewer: ViewerModel, event: Any) -> None:
        """Follow the mouse between two clicks."""
        if self._is_mine():
            self._follow(self._voxel(event.position), "Shift" in event.modifiers)

    def press(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """Take a click as an end of what is drawn; of a drag, its beginning and its end."""
        if event.button != LEFT or set(event.modifiers) - {"Shift"} or not self._is_mine():
            return
        event.handled = True
        start = np.array(event.pos, float)
        with kept_still(viewer):
            self._click(self._voxel(event.position), "Shift" in event.modifiers)
            yield
            while event.type == "mouse_move" and self.on:
                self._follow(self._voxel(event.position), "Shift" in event.modifiers)
                yield
            if self._is_mine() and np.linalg.norm(np.array(event.pos, float) - start) > A_DRAG:
                self._drop(self._voxel(event.position), "Shift" in event.modifiers)
        if self.on:
            self._let_up()

    def _is_mine(self) -> bool:
        """Whether the mouse is this tool's; it is not once something else was taken in hand."""
        marking = self._session.marking
        if self.on and (marking is None or marking.held is not None):
            self.stop()
        return self.on and self._session.plane is not None

    def _voxel(self, position: Any) -> np.ndarray:
        """Where a position in the world lies on the slice that is shown, in voxels (z, y, x), not beside the scan."""
        ct, plane, case = self._session.layer(Part.CT), self._session.plane, self._case
        if ct is None or plane is None or case is None:
            return np.zeros(3)
        voxel = np.clip(voxel_of(ct, position), -0.5, np.array(case.volume.shape) - 0.5)
        voxel[plane.axis] = plane.index
        return voxel

    def _turned(self) -> None:
        plane = self._session.plane
        if plane != self._plane:
            self._plane = plane
            self._leave_slice()

    def _draw(self, lines: Iterable[Drawn], *, unfinished: bool) -> None:
        """Show lines in place of what was drawn before."""
        session = self._session
        if session.marking is not None and self._case is not None:
            session.marking.draw(Sketch(tuple(lines), in_hand=True, unfinished=unfinished))

    def _beside(self, line: Drawn, points: np.ndarray) -> Drawn:
        """Write a line's label beside some points (n, 3) in voxels."""
        if self._case is None:
            return line
        return beside(line, points, self._case.volume.spacing, self._session.viewer.scene.camera.zoom)

    # -- what a tool does with it: places are voxels (z, y, x) on the slice that is shown --

    @abstractmethod
    def _click(self, voxel: np.ndarray, shift: bool) -> None:
        """The button was pressed."""

    @abstractmethod
    def _follow(self, voxel: np.ndarray, shift: bool) -> None:
        """The mouse moved."""

    @abstractmethod
    def _drop(self, voxel: np.ndarray, shift: bool) -> None:
        """The button was let go where a drag ends."""

    @abstractmethod
    def _let_up(self) -> None:
        """The button is up, napari's layers and camera are the mouse's again."""

    @abstractmethod
    def _leave_slice(self) -> None:
        """Another slice is shown, or slices are cut otherwise."""

    @abstractmethod
    def _forget(self) -> None:
        """All that was drawn is given up."""
