"""GrabCut's trimap, its result and the quarter ellipses as layers of a lesion's key slice."""

from collections.abc import Callable
from enum import IntEnum, StrEnum

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_uld.viewer.layers.marks import Drawn, Kind, outlines
from napari_uld.viewer.layers.parts import OVERLAYS, on_slice
from napari_uld.viewer.layers.slice_layer import SliceLayer, SliceLines
from napari_uld.viewer.state.case import Case


class ComparisonPart(StrEnum):
    """The layers, from the bottom up; the values are their names."""

    TRIMAP = "Compare: trimap"
    OUTLINES = "Compare: outlines"


class TrimapLabel(IntEnum):
    """The trimap layer's labels; 0 is what GrabCut does not look at."""

    BACKGROUND = 1
    UNKNOWN = 2
    FOREGROUND = 3


# Hue and lightness both differ, for readers with any colour vision.
TRIMAP_COLOURS = {TrimapLabel.BACKGROUND: "#0072B2", TrimapLabel.UNKNOWN: "#D55E00", TrimapLabel.FOREGROUND: "#F0E442"}
# Most of it is background, and the scan is to be seen through it.
TRIMAP_ALPHA = {TrimapLabel.BACKGROUND: "38", TrimapLabel.UNKNOWN: "60", TrimapLabel.FOREGROUND: "88"}
GRABCUT_COLOUR, ELLIPSE_COLOUR = "#FFFFFF", "#E6009E"


class ComparisonLayers:
    """The layers of a comparison.

    Parameters
    ----------
    viewer
        The viewer that they are in.
    later
        Does something once napari is through with what it is doing.
    """

    def __init__(self, viewer: ViewerModel, later: Callable[[Callable[[], None]], object]) -> None:
        self._trimap = SliceLayer(viewer, ComparisonPart.TRIMAP, OVERLAYS)
        # Over the lesion's box, that GrabCut often grows up to.
        self._outlines = SliceLines(viewer, ComparisonPart.OUTLINES, (), later)

    def show(self, case: Case, z: int, trimap: np.ndarray, grabcut: np.ndarray, ellipse: np.ndarray) -> None:
        """Show a comparison on slice `z`, in place of what was shown of it before; all masks (height, width)."""
        layer, place = self._trimap.of(case, lambda: _trimap_layer(case, z, trimap)), on_slice(case, z)
        layer.data[0] = trimap
        # Each of these costs milliseconds of a drag, so only what changed is told.
        if not np.array_equal(layer.translate, place["translate"]):
            layer.translate = place["translate"]
        layer.refresh(extent=False)
        # The upper line is the thinner one: where the two run together, both are seen.
        lower = [Drawn("", Kind.RECIST, line, GRABCUT_COLOUR, thick=True) for line in outlines(grabcut, z)]
        upper = [Drawn("", Kind.RECIST, line, ELLIPSE_COLOUR) for line in outlines(ellipse, z)]
        self._outlines.draw(case, [*lower, *upper], z)

    def see(self, something: bool) -> None:
        """Show or hide them."""
        self._trimap.see(something)
        self._outlines.see(something)

    def remove(self) -> None:
        """Take them away."""
        self._trimap.remove()
        self._outlines.remove()


def _trimap_layer(case: Case, z: int, trimap: np.ndarray) -> Labels:
    return Labels(
        trimap[None].copy(),
        **on_slice(case, z),
        colormap=_trimap_colormap(),
        opacity=1.0,
        blending="translucent_no_depth",
        visible=False,
    )


def _trimap_colormap() -> DirectLabelColormap:
    colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    colours.update({label: TRIMAP_COLOURS[label] + TRIMAP_ALPHA[label] for label in TrimapLabel})
    return DirectLabelColormap(color_dict=colours)
