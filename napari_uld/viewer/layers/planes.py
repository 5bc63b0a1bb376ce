"""A view of a scan from the side, beside the main one: a viewer of its own that shows one slice.

The slice is a part of the scan's own array, and all layers are flat: there is nothing for napari to slice, and what
does not move is not drawn anew.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Vectors

from napari_uld.viewer.layers.canvas import CAPTION_SIZE, VIEWS, Fit, Legend
from napari_uld.viewer.layers.cross_hair import cross_hair, cross_hair_layer, draw, place_of
from napari_uld.viewer.layers.directions import ORIENTATIONS, shown_axes
from napari_uld.viewer.layers.marks import Kind, Plane, drawn_on, line_width, segments
from napari_uld.viewer.layers.parts import AXES
from napari_uld.viewer.state.case import Case

Voxel = tuple[int, int, int]


class PlaneView:
    """Coronal or sagittal slices of the open scan.

    Parameters
    ----------
    axis
        The scan's axis that slices are cut across: 1 coronal, 2 sagittal.
    later
        Does something once napari is through with what it is doing.
    """

    def __init__(self, axis: int, later: Callable[[Callable[[], None]], object]) -> None:
        self.axis = axis
        self.axes = list(shown_axes(axis))
        self.model = ViewerModel()
        self._later = later
        self._case: Case | None = None
        self._voxel: Voxel | None = None
        self._kinds: Collection[Kind] = tuple(Kind)
        self._zoom = 0.0
        names = [AXES[axis] for axis in self.axes]
        flat: dict[str, Any] = {"visible": False, "units": ("mm",) * 2, "axis_labels": names}
        self._image = Image(np.zeros((2, 2), np.int16), colormap="gray", interpolation2d="linear", **flat)
        self._marks = Vectors(np.zeros((0, 2, 2)), ndim=2, vector_style="line", opacity=1.0, **flat)
        self._cross = cross_hair_layer(2)
        self._cross.visible = False
        for layer in self.layers:
            self.model.add_layer(layer)
        self._legend = Legend(self.model)
        self._fit = Fit(self.model, again=self.fit)
        self._set_up()
        self._write(letters=False)

    @property
    def layers(self) -> tuple[Image, Vectors, Vectors]:
        """The slice, the marks on it and the cross-hair, from the bottom up."""
        return self._image, self._marks, self._cross

    @property
    def plane(self) -> Plane | None:
        """The slice that is shown, or None where no scan is open."""
        return None if self._voxel is None else Plane(self.axis, self._voxel[self.axis])

    def open(self, case: Case | None) -> None:
        """Show a scan once it is said where (`go`), or nothing."""
        self._case, self._voxel = case, None
        if case is None:
            for layer in self.layers:
                _see(layer, False)
            # Else it holds the whole scan that it is a part of.
            self._image.data = np.zeros((2, 2), np.int16)
            self._write(letters=False)
            return
        for layer in (self._image, self._marks):
            layer.scale = np.array(case.volume.spacing)[self.axes]
            layer.translate = place_of(case, (0, 0, 0))[self.axes]

    def change(self) -> None:
        """Show the phase that the main view shows now."""
        if self._case is not None and self._voxel is not None:
            self._image.data = self._slice(self._case, self._voxel)

    def fill(self) -> None:
        """Draw the slice again: more of the scan has arrived."""
        if self._image.visible:
            self._image.refresh(thumbnail=False, extent=False)

    def go(self, voxel: Voxel, window: tuple[float, float] | None, *, letters: bool) -> None:
        """Show the slice through a voxel (z, y, x), and where on it that is, through the main view's window."""
        case, before = self._case, self._voxel
        if case is None:
            return
        if window is not None and tuple(self._image.contrast_limits) != window:
            self._image.contrast_limits = window
        self._voxel = voxel
        if before is None or before[self.axis] != voxel[self.axis]:
            self._image.data = self._slice(case, voxel)
            _see(self._image, True)
            self.mark(self._kinds)
        if before != voxel:
            self._point()
        self._write(letters=letters)

    def mark(self, kinds: Collection[Kind]) -> None:
        """Draw the case's marks of these kinds."""
        self._kinds, plane, self._zoom = kinds, self.plane, self.model.scene.camera.zoom
        if self._case is None or plane is None:
            return
        spacing = self._case.volume.spacing
        vectors, colours = segments(drawn_on(self._case, plane, kinds), plane, spacing, self._zoom)
        # What is empty is hidden, and what is hidden is not filled.
        _see(self._marks, len(vectors) > 0)
        if len(vectors):
            self._marks.data = vectors[..., self.axes]
            self._marks.edge_width = line_width(spacing, plane, self._zoom)
            self._marks.edge_color = colours

    def fit(self) -> None:
        """Zoom to the body."""
        if self._case is not None and self._voxel is not None:
            self._fit.fit(self._image, self.axis, self._image.data)

    def _slice(self, case: Case, voxel: Voxel) -> np.ndarray:
        return np.moveaxis(case.phases.shown.hu, self.axis, 0)[voxel[self.axis]]

    def _set_up(self) -> None:
        """Drags, clicks and the wheel mean other things here than elsewhere in napari."""
        camera = self.model.scene.camera
        camera.orientation2d = ORIENTATIONS[self.axis][1:]
        camera.mouse_pan = camera.mouse_zoom = False
        camera.events.zoom.connect(self._zoomed)
        self.model.mouse_wheel_callbacks.clear()
        self.model.mouse_double_click_callbacks.clear()
        self.model.layers.selection.clear()

    def _point(self) -> None:
        """Draw the cross-hair, and move the view where it lies outside."""
        if self._case is None or self._voxel is None:
            return
        camera, place = self.model.scene.camera, place_of(self._case, self._voxel)[self.axes]
        _see(self._cross, True)
        draw(self._cross, cross_hair(self._case, self.axis, self._voxel), camera.zoom)
        if (np.abs(place - camera.center[-2:]) > np.array(self.model.canvas.size) / camera.zoom / 2).any():
            camera.center = (0.0, *place)

    def _write(self, *, letters: bool) -> None:
        caption, case, plane = self.model.canvas.overlays.text, self._case, self.plane
        text = f"{VIEWS[self.axis]}: no scan is open"
        # Short, and above the letter: there is little room.
        if case is not None and plane is not None:
            text = f"{VIEWS[plane.axis]} {plane.index + 1} of {case.volume.shape[plane.axis]}"
        if caption.text != text:
            caption.position, caption.font_size = "top_center", CAPTION_SIZE
            caption.text, caption.visible = text, True
        self._legend.show(self.model, case, None if plane is None else plane.axis, letters=letters, bar=False)

    def _zoomed(self) -> None:
        self._later(self._refit)

    def _refit(self) -> None:
        """Lines keep their width on the screen."""
        if self._voxel is not None and self._zoom != self.model.scene.camera.zoom:
            self.mark(self._kinds)
            self._point()


def _see(layer: Layer, seen: bool) -> None:
    """Show or hide a layer; napari draws the canvas anew for each that is set, be it the same."""
    if bool(layer.visible) != seen:
        layer.visible = seen
