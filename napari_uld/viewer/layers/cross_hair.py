"""The cross-hair: two lines through the place that all views are cut through, open where they would meet."""

from collections.abc import Callable

import numpy as np
from napari.components import ViewerModel
from napari.layers import Vectors

from napari_uld.viewer.layers.directions import shown_axes
from napari_uld.viewer.layers.eye import Eye
from napari_uld.viewer.layers.marks import Plane
from napari_uld.viewer.layers.parts import AXES, insert_layer
from napari_uld.viewer.state.case import Case

NAME = "Cross-hair"
LOOK = {"vector_style": "line", "edge_color": "#FFFFFF", "opacity": 0.55, "name": NAME}
# In mm from the place itself to where its lines begin: small lesions stay free.
GAP = 8.0


class CrossHair:
    """The cross-hair's layer in a viewer that shows whole scans.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Vectors | None = None
        self._eye: Eye | None = None
        self._axis = 0
        self._again: Callable[[], object] = lambda: None

    def show(self, case: Case, plane: Plane | None, voxel: tuple[int, int, int]) -> None:
        """Draw it through a voxel (z, y, x) on the slice that is shown; in 3D (None) there is none."""
        self._again = lambda: self.show(case, plane, voxel)
        # A person who took the layer away does not want it.
        if self._layer is not None and self._layer not in self._viewer.layers:
            return
        if plane is not None and (self._layer is None or plane.axis != self._axis):
            self._make(case, plane.axis)
        if self._layer is None or self._eye is None or not self._eye.show(plane is not None) or plane is None:
            return
        data = cross_hair(case, plane.axis, voxel)
        if plane.axis:
            data = _in_space(data, plane.axis, place_of(case, voxel)[plane.axis])
        draw(self._layer, data, self._viewer.scene.camera.zoom)

    def release(self) -> None:
        """Take it away."""
        self._again = lambda: None
        if self._eye is not None:
            self._eye.release()
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = self._eye = None

    def _make(self, case: Case, axis: int) -> None:
        """On axial slices it lies flat, and a step to the next one costs nothing; from the side it lies in space."""
        again = self._again
        self.release()
        self._again, self._axis = again, axis
        self._layer = cross_hair_layer(2 if axis == 0 else 3)
        insert_layer(self._viewer, case, self._layer)
        self._eye = Eye(self._layer, lambda: self._again())


def cross_hair_layer(ndim: int) -> Vectors:
    """Give the layer, empty, its data in mm of the world."""
    return Vectors(np.zeros((0, 2, ndim)), ndim=ndim, units=("mm",) * ndim, axis_labels=AXES[-ndim:], **LOOK)


def cross_hair(case: Case, across: int, voxel: tuple[int, int, int]) -> np.ndarray:
    """Give the lines (n, 2, 2) through a voxel, as start and direction, in mm down and along a slice."""
    axes = list(shown_axes(across))
    place, spacing = place_of(case, voxel)[axes], np.array(case.volume.spacing)[axes]
    low = place_of(case, (0, 0, 0))[axes] - spacing / 2
    high = low + np.array(case.volume.shape)[axes] * spacing
    lines = []
    for axis in (0, 1):
        for start, end in ((low[axis], place[axis] - GAP), (place[axis] + GAP, high[axis])):
            if start < end:
                line = np.array([place, [0.0, 0.0]])
                line[:, axis] = start, end - start
                lines.append(line)
    return np.array(lines).reshape(-1, 2, 2)


def draw(layer: Vectors, data: np.ndarray, zoom: float) -> None:
    """Fill the layer, its lines a pixel wide where a mm is `zoom` pixels."""
    if not np.array_equal(data, layer.data):
        layer.data = data
    if not np.isclose(layer.edge_width, 1 / zoom):
        layer.edge_width = 1 / zoom


def place_of(case: Case, voxel: tuple[int, int, int]) -> np.ndarray:
    """Give where a voxel lies, in mm of the world (z, y, x)."""
    return np.array(case.volume.origin[::-1]) + np.array(voxel) * case.volume.spacing


def _in_space(lines: np.ndarray, across: int, at: float) -> np.ndarray:
    """Give lines on a slice as lines in space (n, 2, 3)."""
    placed = np.insert(lines, across, 0.0, axis=2)
    placed[:, 0, across] = at
    return placed
