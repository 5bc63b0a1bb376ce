"""Reading with the mouse, as radiologists know it: the wheel turns slices, a right-drag sets the window."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session

# One notch of the wheel makes things this many times as large.
ZOOM = 1.15
# A drag over so many pixels of the screen makes the window wider by its own width, at least by a HU a pixel.
PIXELS_A_WIDTH = 250.0
NARROWEST = 1.0
LEFT, RIGHT = 1, 2


class Notches:
    """Adds up the parts of a notch that a touchpad gives."""

    def __init__(self) -> None:
        self._parts = 0.0

    def whole(self, turned: float) -> int:
        """Give how many notches, at most one, are whole with what the wheel was turned."""
        self._parts += float(np.clip(turned, -1, 1))
        whole = int(self._parts)
        self._parts -= whole
        return whole


class ReadingMouse:
    """Wheel and right button over a viewer whose session has a scan open, in 2D; else they are napari's.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        viewer = session.viewer
        # napari's own wheel over the axes would turn slices while Ctrl zooms.
        self._naparis: list[Callable[[ViewerModel, Any], object]] = [
            act for act in viewer.mouse_wheel_callbacks if getattr(act, "__name__", "") == "dims_scroll"
        ]
        others = [act for act in viewer.mouse_wheel_callbacks if act not in self._naparis]
        viewer.mouse_wheel_callbacks[:] = [self.wheel, *others]
        viewer.mouse_drag_callbacks.insert(0, self.drag)
        self._notches = Notches()
        # The press that is going on; the wheel would throw away what is being drawn or dragged.
        self._press: object = None

    @property
    def _reads(self) -> bool:
        return self._session.case is not None and self._session.viewer.dims.ndisplay == 2

    def wheel(self, viewer: ViewerModel, event: Any) -> None:
        """Turn slices, towards the feet when the wheel is turned down; with Ctrl, zoom about what is pointed at."""
        if not self._reads or not self._session.wheel_turns_slices() or set(event.modifiers) - {"Control"}:
            for act in self._naparis:
                act(viewer, event)
            return
        notches = float(np.clip(event.delta[1], -1, 1))
        event.handled = True
        if self._press is not None:
            return
        if "Control" in event.modifiers:
            zoom_about(viewer, ZOOM**notches, event.position)
            return
        # What is half drawn would be left on another slice.
        marking = self._session.marking
        if marking is not None and marking.sketch.unfinished:
            return
        whole = self._notches.whole(notches)
        if whole:
            axis = viewer.dims.order[-3]
            viewer.dims.set_current_step(axis, viewer.dims.current_step[axis] + whole)

    def drag(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """Know of every press; with the right button set the window, and draw or paint nothing meanwhile."""
        if not self._reads:
            return
        press = self._press = object()
        ct = self._session.layer(Part.CT)
        try:
            if event.button == RIGHT and isinstance(ct, Image) and not set(event.modifiers):
                event.handled = True
                yield from drag_window(viewer, ct, event)
            else:
                yield
                while event.type == "mouse_move":
                    yield
        finally:
            # A press whose release never came ends when the next one begins.
            if self._press is press:
                self._press = None


def drag_window(viewer: ViewerModel, ct: Image, event: Any) -> Iterator[None]:
    """Widen the window to the right, raise its level downwards, until the button is let go."""
    low, high = ct.contrast_limits
    start, step = np.array(event.pos, float), max(1.0, (high - low) / PIXELS_A_WIDTH)
    with kept_still(viewer):
        yield
        while event.type == "mouse_move":
            right, down = (np.array(event.pos, float) - start) * step
            width, level = max(NARROWEST, high - low + right), (low + high) / 2 + down
            ct.contrast_limits = (level - width / 2, level + width / 2)
            yield


@contextmanager
def kept_still(viewer: ViewerModel) -> Iterator[None]:
    """While the mouse is a tool's, let it neither draw nor paint, nor move the camera: napari zooms by right-drag."""
    active, camera = viewer.layers.selection.active, viewer.scene.camera
    mode, pans = getattr(active, "mode", None), camera.mouse_pan
    if mode is not None:
        active.mode = "pan_zoom"
    camera.mouse_pan = False
    try:
        yield
    finally:
        if mode is not None:
            active.mode = mode
        camera.mouse_pan = pans


def zoom_about(viewer: ViewerModel, factor: float, position: Any) -> None:
    """Zoom so that what lies at a position in the world stays where it is on the screen."""
    camera = viewer.scene.camera
    pointed = np.array([position[axis] for axis in viewer.dims.displayed])
    centre = np.array(camera.center)
    centre[-2:] = pointed + (centre[-2:] - pointed) / factor
    camera.center = tuple(centre)
    camera.zoom *= factor
