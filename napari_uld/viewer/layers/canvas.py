"""What a reader of CT expects on the canvas: the body filling it, the slice and the window written on it."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from scipy import ndimage

from napari_uld.viewer.layers.marks import Plane
from napari_uld.viewer.state.case import Case

CAPTION_SIZE = 11
# By the axis that slices are cut across.
VIEWS = ("axial", "coronal", "sagittal")
# Below it, in HU, is the air about the body.
AIR = -500
# How much of the canvas the body fills.
BODY_FILLS = 0.95


def fit_body(viewer: ViewerModel, ct: Layer, hu: np.ndarray) -> float | None:
    """Zoom to the body, leaving the air and the table out; give the zoom, or None where there is no body.

    Parameters
    ----------
    viewer
        The viewer.
    ct
        The CT's layer.
    hu
        (y, x) the slice that is shown.
    """
    parts, count = ndimage.label(hu > AIR)
    if not count:
        return None
    body = int(np.argmax(np.bincount(parts.ravel())[1:])) + 1
    rows, columns = ndimage.find_objects(parts)[body - 1]
    low = np.array([rows.start, columns.start]) * ct.scale[1:] + ct.translate[1:]
    high = np.array([rows.stop, columns.stop]) * ct.scale[1:] + ct.translate[1:]
    zoom = BODY_FILLS * float(np.min(np.array(viewer.canvas.size) / (high - low)))
    # Coming back from 3D, napari shows the slice that the centre lies on.
    viewer.scene.camera.center = (viewer.dims.point[viewer.dims.order[-3]], *(low + high) / 2)
    viewer.scene.camera.zoom = zoom
    return zoom


def write_caption(
    viewer: ViewerModel, case: Case | None, plane: Plane | None, window: tuple[float, float] | None
) -> None:
    """Write the scan's name, which slice is shown, by the file's own number, and the window in HU."""
    overlay = viewer.canvas.overlays.text
    shown = case is not None and window is not None
    if overlay.visible != shown:
        overlay.visible = shown
    if case is None or window is None:
        return
    low, high = window
    overlay.position = "top_left"
    overlay.font_size = CAPTION_SIZE
    text = f"{case.volume.name}\n{_where(case, plane)}\nwindow {low:.0f} to {high:.0f} HU"
    if case.reading is not None:
        done, total = case.reading
        text += f"\nreading: {done} of {total} files"
    if overlay.text != text:
        overlay.text = text


def _where(case: Case, plane: Plane | None) -> str:
    volume = case.volume
    if plane is None:
        return f"{volume.shape[0]} slices in 3D"
    if plane.axis == 0:
        return f"slice {volume.native_slice(plane.index)}   ({volume.shape[0] - plane.index} of {volume.shape[0]})"
    return f"{VIEWS[plane.axis]}   ({plane.index + 1} of {volume.shape[plane.axis]})"
