"""What a reader of CT expects on the canvas: the body filling it, the slice and the window written on it."""

from collections.abc import Callable
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from scipy import ndimage

from napari_uld.viewer.layers.directions import Letters, letters_of, shown_axes
from napari_uld.viewer.layers.marks import Plane
from napari_uld.viewer.state.case import Case

CAPTION_SIZE = 11
# By the axis that slices are cut across.
VIEWS = ("axial", "coronal", "sagittal")
# Below it, in HU, is the air about the body.
AIR = -500
# What is smaller than this share of the largest part is the table, a tube or a blanket; arms and legs are larger.
PART_OF_BODY = 0.05
# How much of the canvas the body fills.
BODY_FILLS = 0.95


class Fit:
    """Zooms a viewer to the body, and again when its canvas changes, unless the person zoomed meanwhile.

    Parameters
    ----------
    viewer
        The viewer.
    again
        Called when the canvas changed, to fit what is shown then.
    """

    def __init__(self, viewer: ViewerModel, again: Callable[[], object]) -> None:
        self._viewer = ref(viewer)
        self._again = again
        self._zoom: float | None = None
        viewer.canvas.events.size.connect(self._resized)

    def fit(self, ct: Layer, across: int, slice_hu: np.ndarray) -> None:
        """Zoom to the body on the slice that is shown, leaving the air and the table out.

        Parameters
        ----------
        ct
            The layer that shows the scan, or this slice of it.
        across
            The scan's axis that the slice is cut across.
        slice_hu
            (rows, columns) the slice.
        """
        viewer, body = self._viewer(), body_on(slice_hu)
        if viewer is None or body is None:
            return
        axes = list(shown_axes(across)) if ct.ndim == 3 else [0, 1]
        low, high = (corner * ct.scale[axes] + ct.translate[axes] for corner in body)
        self._zoom = BODY_FILLS * float(np.min(np.array(viewer.canvas.size) / (high - low)))
        # Coming back from 3D, napari shows the slice that the centre lies on.
        deep = viewer.dims.point[viewer.dims.order[-3]] if viewer.dims.ndim > 2 else 0.0
        viewer.scene.camera.center = (deep, *(low + high) / 2)
        viewer.scene.camera.zoom = self._zoom

    def _resized(self) -> None:
        """Panels that are docked take room."""
        viewer = self._viewer()
        if viewer is not None and self._zoom is not None and np.isclose(viewer.scene.camera.zoom, self._zoom):
            self._again()


def body_on(slice_hu: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Give the first corner of the body's box on a slice and the one beyond its last; None where there is but air."""
    parts, count = ndimage.label(slice_hu > AIR)
    if not count:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    found = [
        box for box, size in zip(ndimage.find_objects(parts), sizes, strict=True) if size >= PART_OF_BODY * sizes.max()
    ]
    corners = np.array([[[side.start, side.stop] for side in box] for box in found], float)
    return corners[..., 0].min(axis=0), corners[..., 1].max(axis=0)


class Legend:
    """What is written on a canvas besides the caption: the letters of the directions and a scale bar in mm.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._letters = Letters(viewer)
        self._bar = viewer.canvas.overlays.scale_bar

    def show(self, viewer: ViewerModel, case: Case | None, across: int | None, *, letters: bool, bar: bool) -> None:
        """Write it for a slice across one of the scan's axes; in 3D (None) there are no letters."""
        if letters and case is not None and across is not None:
            self._letters.show(letters_of(viewer, across, case.volume.direction))
        else:
            self._letters.show({})
        bar = bar and case is not None
        if self._bar.visible != bar:
            self._bar.visible = bar


def write_caption(
    viewer: ViewerModel, case: Case | None, plane: Plane | None, window: tuple[float, float] | None
) -> None:
    """Write the scan's name, which slice is shown, by the file's own number, and the window in HU."""
    overlay = viewer.canvas.overlays.text
    shown = case is not None and window is not None
    if overlay.visible != shown:
        overlay.position, overlay.font_size = "top_left", CAPTION_SIZE
        overlay.visible = shown
    if case is None or window is None:
        return
    low, high = window
    phase = case.phases.said()
    text = f"{case.volume.name}\n{phase}{_where(case, plane)}\nwindow {low:.0f} to {high:.0f} HU"
    if case.reading is not None:
        done, total = case.reading
        text += f"\nreading: {done} of {total} files"
    if overlay.text != text:
        # Whatever its length it stands in the corner: to place it anew would have the canvas drawn a second time.
        with viewer.canvas.events.blocker_all():
            overlay.text = text


def _where(case: Case, plane: Plane | None) -> str:
    volume = case.volume
    if plane is None:
        return f"{volume.shape[0]} slices in 3D"
    if plane.axis == 0:
        return f"slice {volume.native_slice(plane.index)}   ({volume.shape[0] - plane.index} of {volume.shape[0]})"
    return f"{VIEWS[plane.axis]}   ({plane.index + 1} of {volume.shape[plane.axis]})"
