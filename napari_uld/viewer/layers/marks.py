"""What people and detectors marked, as shapes: RECIST lines, boxes of lesions and of detections.

Layers are made once and then filled with the shapes of the slice that is shown. Data coordinates are voxels (z, y, x).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Shapes
from skimage.measure import find_contours

from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.viewer.layers.parts import PART, LayerTuple, Part, geometry, metadata
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark, Row, slice_positions

# Okabe and Ito's colours, told apart by readers with any colour vision.
COLOURS = {
    Mark.EXPERT: "#56B4E9",
    Mark.ACCEPTED: "#00C89A",
    Mark.REJECTED: "#CC79A7",
    Mark.PENDING: "#F0A000",
}
RECIST_COLOUR = "#F0E442"
THIN, THICK = 0.7, 1.2
# Where all slices are shown at once, more boxes than these are those of the key slices alone.
MOST_BOXES = 300
TEXT_SIZE = 11


@dataclass(frozen=True, eq=False)
class Drawn:
    """One rectangle or line to draw: which lesion, its corners (n, 3) in voxels (z, y, x), how it looks."""

    key: str
    corners: np.ndarray
    colour: str
    width: float
    label: str = ""


def marks_layer(case: Case, part: Part) -> LayerTuple:
    """Give the Shapes layer `part` of a newly opened case, as readers do, with the marks of its middle slice."""
    drawn = drawn_of(case, part, case.volume.shape[0] // 2)
    look: dict[str, Any] = {
        **geometry(case),
        "name": part.value,
        "metadata": metadata(case, part),
        "ndim": 3,
        "opacity": 1.0,
        "face_color": "transparent",
        "features": _features(drawn),
        "feature_defaults": {"key": "", "label": "", "colour": COLOURS[Mark.EXPERT]},
        "text": labels_in({"feature": "colour"}),
        "edge_color": [d.colour for d in drawn] or COLOURS[Mark.EXPERT],
        "edge_width": [d.width for d in drawn] or THIN,
        "shape_type": _shape_type(part),
    }
    return [d.corners for d in drawn], look, "shapes"


def drawn_of(case: Case, part: Part, at: int | None) -> list[Drawn]:
    """Everything that the Shapes layer `part` of a case has to show on slice `at`, or on all (None).

    Hundreds of lesions that are traced through the scan are thousands of shapes, a slice has a few of them.
    """
    shown = slice_positions(case.volume) if at is None else {case.volume.native_slice(at): at}
    traced = at is not None or sum(len(row.boxes) for row in case.rows) <= MOST_BOXES
    current = case.current
    drawn: list[Drawn] = []
    for row in case.rows:
        width = THICK if current is not None and row.key == current.key else THIN
        if part is Part.RECIST:
            if row.recist is not None and row.native in shown:
                drawn += _recist_lines(row, row.recist, shown[row.native])
        elif (row.annotation is None) == (part is Part.DETECTIONS):
            label = "" if row.score is None else f"{row.score:.2f}"
            drawn += [
                Drawn(row.key, rectangle(shown[native], row.boxes[native]), COLOURS[row.mark], width, label)
                for native in (sorted(row.boxes.keys() & shown.keys()) if traced else (row.native,))
                if native in shown
            ]
    return drawn


def draw(layer: Shapes, drawn: Sequence[Drawn]) -> None:
    """Make a Shapes layer show `drawn`, touching its geometry only where that differs."""
    same = [d.key for d in drawn] == list(layer.features.get("key", ())) and all(
        np.allclose(old, new.corners, atol=1e-3) for old, new in zip(layer.data, drawn, strict=False)
    )
    if not same:
        kind = _shape_type(layer.metadata[PART])
        layer.data = [(d.corners, kind) for d in drawn]
        layer.features = _features(drawn)
    elif not _features(drawn).equals(layer.features.astype(object)):
        layer.features = _features(drawn)
    elif list(layer.edge_width) == [d.width for d in drawn]:
        return
    if drawn:
        layer.edge_color = [d.colour for d in drawn]
        layer.edge_width = [d.width for d in drawn]


def labels_in(colour: object) -> dict[str, Any]:
    """How shapes are labelled with their feature "label", in this colour."""
    return {"string": "{label}", "size": TEXT_SIZE, "anchor": "upper_left", "color": colour}


def outlines(mask: np.ndarray, z: int) -> list[np.ndarray]:
    """Closed outlines (n, 3) of a mask's parts and holes on slice `z`, in voxels (z, y, x)."""
    # A margin closes the outline of what touches the slice's border.
    lines = [line - 1 for line in find_contours(np.pad(mask, 1).astype(float), 0.5)]
    return [np.column_stack([np.full(len(line), float(z)), line]) for line in lines]


def rectangle(z: int, box: Box) -> np.ndarray:
    """Corners (4, 3) of a box on slice `z`, in voxels (z, y, x)."""
    x1, y1, x2, y2 = box
    return np.array([[z, y1, x1], [z, y1, x2], [z, y2, x2], [z, y2, x1]], dtype=np.float64)


def box_of(corners: np.ndarray) -> Box:
    """Give the box about a shape's corners (n, 3) in voxels (z, y, x)."""
    y1, x1 = (float(v) for v in corners[:, 1:].min(axis=0))
    y2, x2 = (float(v) for v in corners[:, 1:].max(axis=0))
    return x1, y1, x2, y2


def _features(drawn: Sequence[Drawn]) -> pd.DataFrame:
    columns = {
        "key": [d.key for d in drawn],
        "label": [d.label for d in drawn],
        "colour": [d.colour for d in drawn],
    }
    return pd.DataFrame(columns, dtype=object)


def _shape_type(part: Part) -> str:
    return "line" if part is Part.RECIST else "rectangle"


def _recist_lines(row: Row, recist: Recist, z: int) -> list[Drawn]:
    lines = []
    for (x1, y1), (x2, y2) in (recist.long, recist.short):
        lines.append(Drawn(row.key, np.array([[z, y1, x1], [z, y2, x2]], dtype=np.float64), RECIST_COLOUR, THIN))
    return lines
