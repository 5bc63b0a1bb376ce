"""A mouse for a viewer without a window: it tells the viewer what napari's canvas would."""

from types import SimpleNamespace

import numpy as np
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

from napari_uld.viewer.layers.marks import Drawn
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session


class Clicker:
    """Clicks and drags at voxels (x, y) of the axial slice that is shown, or (z, y, x) of any."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._down: SimpleNamespace | None = None

    def move(self, at: tuple[float, ...], *modifiers: str) -> None:
        event = self._down or SimpleNamespace(button=None)
        event.type, event.modifiers, event.is_dragging = "mouse_move", modifiers, self._down is not None
        self._tell(mouse_move_callbacks, event, at)

    def press(self, at: tuple[float, ...], *modifiers: str, button: int = 1) -> None:
        self._down = SimpleNamespace(type="mouse_press", button=button, modifiers=modifiers, handled=False)
        self._tell(mouse_press_callbacks, self._down, at)

    def release(self, at: tuple[float, ...], *modifiers: str) -> None:
        event, self._down = self._down, None
        assert event is not None
        event.type, event.modifiers = "mouse_release", modifiers
        self._tell(mouse_release_callbacks, event, at)

    def click(self, at: tuple[float, ...], *modifiers: str) -> None:
        self.move(at, *modifiers)
        self.press(at, *modifiers)
        self.release(at, *modifiers)

    def drag(self, start: tuple[float, ...], end: tuple[float, ...], *modifiers: str) -> None:
        self.press(start, *modifiers)
        self.move(end, *modifiers)
        self.release(end, *modifiers)

    def _tell(self, callbacks: object, event: SimpleNamespace, at: tuple[float, ...]) -> None:
        voxel = at if len(at) == 3 else (self._session.z, at[1], at[0])
        event.position = tuple(self._session.layer(Part.CT).data_to_world(voxel))
        event.pos = np.array(event.position[:0:-1]) * self._session.viewer.scene.camera.zoom
        callbacks(self._session.viewer, event)


def sketched(session: Session) -> list[Drawn]:
    """What a tool draws on the slice that is shown."""
    return session.marking.sketch.over([], session.plane)


def written(session: Session) -> list[str]:
    """What is written beside marks and drawings."""
    labels = session.layer(Part.LABELS)
    return list(labels.features["label"]) if labels.visible else []
