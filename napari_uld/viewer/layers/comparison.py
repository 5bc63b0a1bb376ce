"""GrabCut's trimap, its result and the quarter ellipses as layers of a lesion's key slice."""

from enum import IntEnum, StrEnum

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Shapes
from napari.utils.colormaps import DirectLabelColormap

from napari_uld.viewer.layers.marks import outlines
from napari_uld.viewer.layers.parts import find_layer, geometry, insert_layer, metadata, on_slice
from napari_uld.viewer.state.case import Case


class ComparisonPart(StrEnum):
    """The layers, from the bottom up; the values are their names."""

    TRIMAP = "Compare: trimap"
    GRABCUT = "Compare: GrabCut"
    ELLIPSE = "Compare: ellipse"


class TrimapLabel(IntEnum):
    """The trimap layer's labels; 0 is what GrabCut does not look at."""

    BACKGROUND = 1
    UNKNOWN = 2
    FOREGROUND = 3


# Hue and lightness both differ, for readers with any colour vision.
TRIMAP_COLOURS = {TrimapLabel.BACKGROUND: "#0072B2", TrimapLabel.UNKNOWN: "#D55E00", TrimapLabel.FOREGROUND: "#F0E442"}
# Most of it is background, and the scan is to be seen through it.
TRIMAP_ALPHA = {TrimapLabel.BACKGROUND: "38", TrimapLabel.UNKNOWN: "60", TrimapLabel.FOREGROUND: "88"}
COLOURS = {ComparisonPart.GRABCUT: "#FFFFFF", ComparisonPart.ELLIPSE: "#E6009E"}
# The upper line is the thinner one: where the two run together, both are seen.
WIDTHS = {ComparisonPart.GRABCUT: 0.7, ComparisonPart.ELLIPSE: 0.4}


def show_comparison(
    viewer: ViewerModel, case: Case, z: int, trimap: np.ndarray, grabcut: np.ndarray, ellipse: np.ndarray
) -> None:
    """Show a comparison on slice `z`, in place of what was shown of it before; all masks (height, width)."""
    _show_trimap(viewer, case, z, trimap)
    _show_outline(viewer, case, ComparisonPart.GRABCUT, z, grabcut)
    _show_outline(viewer, case, ComparisonPart.ELLIPSE, z, ellipse)


def remove_comparison(viewer: ViewerModel, case: Case) -> None:
    """Take a case's comparison away."""
    for part in ComparisonPart:
        layer = find_layer(viewer, case, part)
        if layer is not None:
            viewer.layers.remove(layer)


def _show_trimap(viewer: ViewerModel, case: Case, z: int, trimap: np.ndarray) -> None:
    layer = find_layer(viewer, case, ComparisonPart.TRIMAP)
    place = on_slice(case, z)
    if isinstance(layer, Labels):
        layer.data[0] = trimap
        # Each of these costs milliseconds of a drag, so only what changed is told.
        if not np.array_equal(layer.translate, place["translate"]):
            layer.translate = place["translate"]
        layer.refresh(extent=False)
        return
    layer = Labels(
        trimap[None].copy(),
        **place,
        name=ComparisonPart.TRIMAP.value,
        metadata=metadata(case, ComparisonPart.TRIMAP),
        colormap=_trimap_colormap(),
        opacity=1.0,
        blending="translucent_no_depth",
    )
    layer.editable = False
    insert_layer(viewer, case, layer)


def _trimap_colormap() -> DirectLabelColormap:
    colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    colours.update({label: TRIMAP_COLOURS[label] + TRIMAP_ALPHA[label] for label in TrimapLabel})
    return DirectLabelColormap(color_dict=colours)


def _show_outline(viewer: ViewerModel, case: Case, part: ComparisonPart, z: int, mask: np.ndarray) -> None:
    # Closed paths, not polygons: a polygon's face takes longer to make than all the rest.
    lines = [(line, "path") for line in outlines(mask, z)]
    layer = find_layer(viewer, case, part)
    before = 0
    if isinstance(layer, Shapes):
        before = layer.nshapes
        layer.data = lines
    else:
        layer = Shapes(
            lines,
            **geometry(case),
            ndim=3,
            name=part.value,
            metadata=metadata(case, part),
            face_color="transparent",
            opacity=1.0,
        )
        layer.editable = False
        # Over the lesion's box, that GrabCut often grows up to.
        insert_layer(viewer, case, layer, under=())
    if len(lines) != before:
        layer.edge_color = COLOURS[part]
        layer.edge_width = WIDTHS[part]
