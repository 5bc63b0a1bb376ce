"""Mined hard negatives as a layer of their own: nothing to decide on, something to look at."""

import numpy as np
import pandas as pd

from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import decode
from napari_uld.viewer.layers.marks import THIN, labels_in, outlines, rectangle
from napari_uld.viewer.layers.parts import LayerTuple, geometry, metadata
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import slice_positions

# Okabe and Ito's vermillion: no lesion has it.
COLOUR = "#D55E00"
FACE = f"{COLOUR}40"


def negatives_layer(case: Case, negatives: Findings) -> LayerTuple:
    """Draw the boxes of mined negatives with their scores, and their masks where they have them.

    Parameters
    ----------
    case
        The scan they were mined on; the layer goes when it is closed.
    negatives
        All of them are drawn; what lies on slices that are not on disk is left out.
    """
    position = slice_positions(case.volume)
    shapes: list[np.ndarray] = []
    kinds: list[str] = []
    labels: list[str] = []
    for i, boxes in enumerate(negatives.slice_boxes):
        for native, box in boxes.items():
            if native in position:
                shapes.append(rectangle(position[native], box))
                kinds.append("rectangle")
                labels.append(f"{negatives.scores[i]:.2f}")
        key, mask = int(negatives.key_slices[i]), negatives.masks[i]
        if mask is not None and key in position:
            # The last point of a closed line is its first one again.
            polygons = [line[:-1] for line in outlines(decode(mask), position[key])]
            shapes += polygons
            kinds += ["polygon"] * len(polygons)
            labels += [""] * len(polygons)
    look = {
        **geometry(case),
        "name": f"Hard negatives, {negatives.detector}",
        "metadata": metadata(case),
        "ndim": 3,
        "shape_type": kinds,
        "features": pd.DataFrame({"label": labels}, dtype=object),
        "text": labels_in(COLOUR),
        "edge_color": COLOUR,
        "face_color": [FACE if kind == "polygon" else "transparent" for kind in kinds] or "transparent",
        "edge_width": THIN,
        "opacity": 1.0,
    }
    return shapes, look, "shapes"
