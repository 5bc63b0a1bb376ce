"""Mined hard negatives as layers of their own: nothing to decide on, something to look at."""

import numpy as np
import pandas as pd

from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import decode
from napari_uld.viewer.layers.marks import (
    SPATIAL,
    Drawn,
    Kind,
    Plane,
    labels_in,
    line_width,
    outlines,
    rectangle,
    segments,
)
from napari_uld.viewer.layers.parts import LayerTuple, geometry, metadata
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import slice_positions

# Okabe and Ito's vermillion: no lesion has it.
COLOUR = "#D55E00"


def negatives_layers(case: Case, negatives: Findings, zoom: float) -> list[LayerTuple]:
    """Give the boxes and masks of mined negatives as one layer, and their scores as another.

    Parameters
    ----------
    case
        The scan they were mined on; the layers go when it is closed.
    negatives
        All of them are drawn; what lies on slices that are not on disk is left out.
    zoom
        How many pixels of the screen a millimetre is; lines are thin there.
    """
    drawn, plane, spacing = drawn_negatives(case, negatives), Plane(0, 0), case.volume.spacing
    vectors, colours = segments(drawn, plane, spacing, zoom)
    name = f"Hard negatives, {negatives.detector}"
    lines = {
        **geometry(case),
        "name": name,
        "metadata": metadata(case),
        "ndim": SPATIAL,
        "vector_style": "line",
        "edge_width": line_width(spacing, plane, zoom),
        "opacity": 1.0,
    }
    if len(vectors):
        lines["edge_color"] = colours
    labelled = [each for each in drawn if each.label]
    scores = {
        **geometry(case),
        "name": f"{name}: scores",
        "metadata": metadata(case),
        "ndim": SPATIAL,
        "size": 0.01,
        "face_color": "transparent",
        "border_color": "transparent",
        "features": pd.DataFrame({"label": [each.label for each in labelled]}, dtype=object),
        "text": labels_in(COLOUR),
    }
    places = np.reshape([each.corners[0] for each in labelled], (-1, SPATIAL))
    return [(vectors, lines, "vectors"), (places, scores, "points")]


def drawn_negatives(case: Case, negatives: Findings) -> list[Drawn]:
    """Give the boxes with their scores, slice by slice, and the outlines of the masks on the key slices."""
    position = slice_positions(case.volume)
    drawn: list[Drawn] = []
    for i, boxes in enumerate(negatives.slice_boxes):
        score = f"{negatives.scores[i]:.2f}"
        corners = [rectangle(position[native], box) for native, box in boxes.items() if native in position]
        drawn += [Drawn("", Kind.DETECTIONS, each, COLOUR, label=score) for each in corners]
        key, mask = int(negatives.key_slices[i]), negatives.masks[i]
        if mask is not None and key in position:
            lines = outlines(decode(mask), position[key])
            drawn += [Drawn("", Kind.DETECTIONS, line, COLOUR) for line in lines]
    return drawn
