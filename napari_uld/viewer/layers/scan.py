"""An open scan as napari layers: CT and mask, and what is marked on them.

Layers are made once and then updated in place, also when the next scan is opened. Data coordinates are voxels
(z, y, x); the layer's scale and translation turn them into millimetres.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap

from napari_uld.ct.windows import WINDOWS, Window
from napari_uld.viewer.layers.bodies import bodies_layer
from napari_uld.viewer.layers.hand import hand_layer
from napari_uld.viewer.layers.marks import labels_layer, marks_layer
from napari_uld.viewer.layers.parts import PART, LayerTuple, Part, geometry, metadata
from napari_uld.viewer.state.case import Case

# What a soft-tissue reader expects where the series does not say.
DEFAULT_WINDOW = (-175.0, 275.0)
# The window that a series brings along.
SERIES = "series"

# Soft maps run from .5 at a box's border to 1 at its centre; below, they are seen through.
MASK_COLOURS = Colormap(
    [[0.8, 0.0, 0.1, 0.0], [0.8, 0.0, 0.1, 0.2], [0.95, 0.15, 0.05, 0.4], [1.0, 0.4, 0.05, 0.6]],
    name="lesion mask",
    controls=[0.0, 0.4, 0.75, 1.0],
)


def case_layers(case: Case) -> list[LayerTuple]:
    """Give the layers of a newly opened case in the order of `Part`, bottom first, as napari's readers do."""
    return [_ct(case), _mask(case), bodies_layer(case), marks_layer(case), labels_layer(case), hand_layer(case)]


def refill(layer: Layer, made: LayerTuple) -> None:
    """Make a layer of one case that of the next; what a person worked on, and bodies, are hidden until they are filled.

    The others are filled at once: to hide and show them again would be drawn twice. What stays the same is not told
    again: each of these is drawn.
    """
    data, look, _ = made
    is_scan = look["metadata"][PART] is Part.CT
    if layer.visible and look["metadata"][PART] in (Part.HAND, Part.BODIES):
        layer.visible = False
    layer.metadata = look["metadata"]
    layer.name = look["name"]
    for name in ("scale", "translate"):
        if not np.array_equal(getattr(layer, name), look[name]):
            setattr(layer, name, look[name])
    # A scan that was shown while it was read stays the array that it is; of nothing there is nothing new.
    if layer.data is not data and (len(data) or len(layer.data)):
        layer.data = data
    if isinstance(layer, Image) and is_scan:
        (low, high), (lowest, highest) = look["contrast_limits"], layer.contrast_limits_range
        limit(layer, min(low, lowest), max(high, highest))
        if tuple(layer.contrast_limits) != (low, high):
            layer.contrast_limits = (low, high)


def limit(layer: Image, low: float, high: float) -> None:
    """Let a layer's window be set by hand between these HU."""
    if tuple(layer.contrast_limits_range) != (low, high):
        layer.contrast_limits_range = (low, high)


def voxel_at(viewer: ViewerModel, ct: Layer) -> tuple[int, int, int]:
    """Give the voxel (z, y, x) that a viewer's slices are cut through; the viewer's last three axes are the scan's."""
    places = np.round(voxel_of(ct, viewer.dims.point))
    z, y, x = np.clip(places, 0, np.array(ct.data.shape) - 1).astype(int).tolist()
    return z, y, x


def voxel_of(ct: Layer, position: Sequence[float]) -> np.ndarray:
    """Where a position in the world lies, in voxels (z, y, x), which need not be whole or within the scan."""
    return (np.asarray(position, float)[-3:] - ct.translate) / ct.scale


def show_voxel(viewer: ViewerModel, ct: Layer, voxel: Mapping[int, float]) -> None:
    """Cut a viewer's slices through these places along some of a scan's axes (0 z, 1 y, 2 x), in voxels."""
    axes = list(voxel)
    world = ct.translate[axes] + np.array([voxel[axis] for axis in axes]) * ct.scale[axes]
    viewer.dims.set_point([viewer.dims.ndim - 3 + axis for axis in axes], world.tolist())


def series_window(case: Case) -> Window:
    """Give the window that the series is meant to be read with."""
    return case.volume.window or DEFAULT_WINDOW


def windows_of(case: Case) -> dict[str, Window]:
    """Give the windows to choose from: the series' own and the presets, (low, high) HU."""
    return {SERIES: series_window(case), **WINDOWS}


def slider_range(case: Case) -> Window:
    """Give the HU between which a window may be set by hand: the scan's own, once it is read, and all windows'."""
    known = [*windows_of(case).values(), *([case.phases.shown.hu_range] if case.reading is None else [])]
    lows, highs = zip(*known, strict=True)
    return float(min(lows)), float(max(highs))


def _ct(case: Case) -> LayerTuple:
    look = {
        **geometry(case),
        "name": f"{Part.CT} {case.phases.shown.name}",
        "metadata": metadata(case, Part.CT),
        "colormap": "gray",
        "contrast_limits": series_window(case),
        "interpolation2d": "linear",
        # In 3D its brightest voxels hide no body.
        "blending": "translucent_no_depth",
    }
    return case.phases.shown.hu, look, "image"


def _mask(case: Case) -> LayerTuple:
    look = {
        **geometry(case),
        "name": Part.MASK.value,
        "metadata": metadata(case, Part.MASK),
        "colormap": MASK_COLOURS,
        "contrast_limits": (0, 255),
        "blending": "translucent_no_depth",
        "opacity": 0.8,
        "visible": False,
    }
    # Untouched pages of a zeroed array cost no memory: only slices with lesions do.
    return np.zeros(case.volume.shape, np.uint8), look, "image"
