"""Coronal and sagittal views linked to the main one by a cross-hair.

The main viewer's `dims.point` is the one place of truth: whatever is done in a view moves it, and all views follow.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_uld.viewer.layers.cross_hair import CrossHair
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.layers.planes import PlaneView
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.tools.reading import LEFT, RIGHT, ZOOM, Notches, drag_window, zoom_about

MIDDLE = 3


class LinkedViews:
    """The views beside the main one, and the cross-hair in all of them.

    Parameters
    ----------
    session
        The session of the main viewer.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._links, self._case_links = Links(), Links()
        self.coronal, self.sagittal = (PlaneView(axis, lambda act: session.later(act)) for axis in (1, 2))
        self._cross_hair = CrossHair(session.viewer)
        for view in self.views:
            view.model.mouse_wheel_callbacks.append(partial(self._wheel, view, Notches()))
            view.model.mouse_drag_callbacks[:] = [partial(self._drag, view)]
        self.follow()

    def follow(self) -> None:
        """Follow the main viewer; after `release` anew."""
        session, self._released = self._session, False
        session.viewer.mouse_drag_callbacks.append(self.shift_drag)
        self._links.connect(session.case_changed, self._open)
        self._links.connect(session.view_changed, self._follow)
        self._links.connect(session.arranged, self._fit)
        self._links.connect(session.filled, self._fill)
        self._links.connect(session.viewer.scene.camera.events.zoom, self._zoomed)
        self._links.connect(session.viewer.events.theme, self._dress)
        self._dress()
        self._open()

    @property
    def views(self) -> tuple[PlaneView, PlaneView]:
        """The views from the side."""
        return self.coronal, self.sagittal

    def release(self) -> None:
        """Follow the main viewer no more, and hold nothing of its scan; its cross-hair goes."""
        self._released = True
        self._links.release()
        self._case_links.release()
        if self.shift_drag in self._session.viewer.mouse_drag_callbacks:
            self._session.viewer.mouse_drag_callbacks.remove(self.shift_drag)
        self._cross_hair.release()
        for view in self.views:
            view.open(None)

    # -- following the main view --

    def _open(self) -> None:
        self._case_links.release()
        case, marking = self._session.case, self._session.marking
        for view in self.views:
            view.open(case)
        if case is None or marking is None:
            self._cross_hair.release()
            return
        self._case_links.connect(case.phases.turned, self._change)
        self._case_links.connect((case.rows_changed, case.current_changed, marking.kinds_changed), self._mark)
        self._mark()
        self._follow()
        self._fit()

    def _follow(self) -> None:
        session = self._session
        if session.case is None or session.layer(Part.CT) is None or self._released:
            return
        for view in self.views:
            view.go(session.voxel, session.window, letters=session.shows_letters())
        self._cross_hair.show(session.case, session.plane, session.voxel)

    def _change(self) -> None:
        for view in self.views:
            view.change()

    def _mark(self) -> None:
        if self._session.marking is not None:
            for view in self.views:
                view.mark(self._session.marking.kinds)

    def _fit(self) -> None:
        for view in self.views:
            view.fit()

    def _fill(self) -> None:
        for view in self.views:
            view.fill()

    def _zoomed(self) -> None:
        self._session.later(self._follow)

    def _dress(self) -> None:
        for view in self.views:
            view.model.theme = self._session.viewer.theme

    # -- what is done in the views --

    def _wheel(self, view: PlaneView, notches: Notches, model: ViewerModel, event: Any) -> None:
        """Turn the view's slices, or zoom, as the wheel does over the main view."""
        event.handled = True
        session, plane = self._session, view.plane
        if session.case is None or plane is None or set(event.modifiers) - {"Control"}:
            return
        if ("Control" in event.modifiers) == session.wheel_turns_slices():
            zoom_about(model, ZOOM ** float(np.clip(event.delta[1], -1, 1)), event.position)
            return
        turned = plane.index + notches.whole(event.delta[1])
        if turned != plane.index:
            size = session.case.volume.shape[view.axis]
            session.show_voxel({view.axis: min(max(turned, 0), size - 1)})

    def _drag(self, view: PlaneView, model: ViewerModel, event: Any) -> Iterator[None]:
        """With the left button move the cross-hair, with the right one set the window, with the middle one the view."""
        ct = self._session.layer(Part.CT)
        if not isinstance(ct, Image) or set(event.modifiers):
            return
        if event.button == LEFT:
            yield from self._point(view.axes, event)
        elif event.button == RIGHT:
            yield from drag_window(model, ct, event)
        elif event.button == MIDDLE:
            yield from _pan(model, event)

    def shift_drag(self, viewer: ViewerModel, event: Any) -> Iterator[None]:
        """In the main view, with Shift, move the cross-hair, unless the mouse draws or paints."""
        plane = self._session.plane
        mode = getattr(viewer.layers.selection.active, "mode", "pan_zoom")
        marking = self._session.marking
        if marking is not None and marking.sketch.in_hand:
            return
        if plane is None or event.button != LEFT or set(event.modifiers) != {"Shift"} or mode != "pan_zoom":
            return
        yield from self._point([axis for axis in range(3) if axis != plane.axis], event)

    def _point(self, axes: list[int], event: Any) -> Iterator[None]:
        """Move the cross-hair along two of the scan's axes until the button is let go."""
        self._point_at(axes, event.position)
        yield
        while event.type == "mouse_move":
            self._point_at(axes, event.position)
            yield

    def _point_at(self, axes: list[int], position: Any) -> None:
        ct, case = self._session.layer(Part.CT), self._session.case
        if ct is None or case is None:
            return
        # A view from the side knows of its own two axes alone.
        world = np.array(position)[-3:][axes] if len(position) >= 3 else np.array(position)
        voxel = np.round((world - ct.translate[axes]) / ct.scale[axes])
        voxel = np.clip(voxel, 0, np.array(case.volume.shape)[axes] - 1)
        if any(self._session.voxel[axis] != at for axis, at in zip(axes, voxel, strict=True)):
            self._session.show_voxel(dict(zip(axes, voxel.tolist(), strict=True)))


def _pan(model: ViewerModel, event: Any) -> Iterator[None]:
    """Keep what was pointed at under the mouse."""
    held = np.array(event.position)
    yield
    while event.type == "mouse_move":
        camera = model.scene.camera
        camera.center = (0.0, *(np.array(camera.center[-2:]) + held - np.array(event.position)))
        yield
