"""What a reader of CT expects on the canvas: the body filling it, the slice and the window written on it."""

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from scipy import ndimage

from napari_uld.viewer.state.case import Case

CAPTION_SIZE = 11
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


def show_caption(viewer: ViewerModel, case: Case | None, z: int, window: tuple[float, float] | None) -> None:
    """Write the scan's name, the file's own slice number and the window in HU."""
    overlay = viewer.text_overlay
    overlay.visible = case is not None and window is not None
    if case is None or window is None:
        return
    volume, (low, high) = case.volume, window
    overlay.position = "top_left"
    overlay.font_size = CAPTION_SIZE
    overlay.color = "#E0E0E0"
    overlay.text = (
        f"{volume.name}\nslice {volume.native_slice(z)}   ({volume.shape[0] - z} of {volume.shape[0]})\n"
        f"window {low:.0f} to {high:.0f} HU"
    )
