"""An open scan as napari layers: CT, mask, RECIST, lesions, detections.

Layers are made once and then updated in place. Data coordinates are voxels (z, y, x); the layer's
scale and translation turn them into millimetres.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap
from skimage.measure import find_contours

from napari_uld.ct.windows import Window
from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark, Row

METADATA = "napari_uld"
AXES = ("z", "y", "x")
# What a soft-tissue reader expects where the series does not say.
DEFAULT_WINDOW = (-175.0, 275.0)

# Okabe and Ito's colours, told apart by readers with any colour vision.
COLOURS = {
    Mark.EXPERT: "#56B4E9",
    Mark.ACCEPTED: "#00C89A",
    Mark.REJECTED: "#CC79A7",
    Mark.PENDING: "#F0A000",
}
RECIST_COLOUR = "#F0E442"
THIN, THICK = 0.7, 1.2
TEXT_SIZE = 11


class Part(StrEnum):
    """The layers of a case, from the bottom up; the values are their names."""

    CT = "CT"
    MASK = "Mask"
    RECIST = "RECIST"
    LESIONS = "Lesions"
    DETECTIONS = "Detections"


# What people and detectors marked, over the scan and its masks.
MARKS = (Part.RECIST, Part.LESIONS, Part.DETECTIONS)

# Soft maps run from .5 at a box's border to 1 at its centre; below, they are seen through.
MASK_COLOURS = Colormap(
    [[0.8, 0.0, 0.1, 0.0], [0.8, 0.0, 0.1, 0.2], [0.95, 0.15, 0.05, 0.4], [1.0, 0.4, 0.05, 0.6]],
    name="lesion mask",
    controls=[0.0, 0.4, 0.75, 1.0],
)

LayerTuple = tuple[Any, dict[str, Any], str]


@dataclass(frozen=True, eq=False)
class Drawn:
    """One rectangle or line to draw: which lesion, its corners (n, 3) in voxels (z, y, x), how it looks."""

    key: str
    corners: np.ndarray
    colour: str
    width: float
    label: str = ""


def case_layers(case: Case) -> list[LayerTuple]:
    """Give the layers of a newly opened case, bottom first, as napari's readers do."""
    common = geometry(case)
    shown: list[LayerTuple] = [
        (
            case.volume.hu,
            {
                **common,
                "name": f"{Part.CT} {case.volume.name}",
                "metadata": {METADATA: case, "part": Part.CT},
                "colormap": "gray",
                "contrast_limits": series_window(case),
                "interpolation2d": "linear",
            },
            "image",
        ),
        (
            # Untouched pages of a zeroed array cost no memory: only slices with lesions do.
            np.zeros(case.volume.shape, np.uint8),
            {
                **common,
                "name": Part.MASK.value,
                "metadata": {METADATA: case, "part": Part.MASK},
                "colormap": MASK_COLOURS,
                "contrast_limits": (0, 255),
                "blending": "translucent_no_depth",
                "opacity": 0.8,
            },
            "image",
        ),
    ]
    for part in MARKS:
        shown.append(_shapes_tuple(case, part, common))
    return shown


def geometry(case: Case) -> dict[str, Any]:
    """Where the scan lies and what its axes are: every layer of a case says so."""
    x, y, z = case.volume.origin
    return {"scale": case.volume.spacing, "translate": (z, y, x), "units": ("mm",) * 3, "axis_labels": AXES}


def on_slice(case: Case, z: int) -> dict[str, Any]:
    """Where a layer of slice `z` alone lies, one voxel deep."""
    place = geometry(case)
    (dz, _, _), (bottom, y, x) = place["scale"], place["translate"]
    return {**place, "translate": (bottom + z * dz, y, x)}


def insert_layer(viewer: ViewerModel, case: Case, layer: Layer, *, under: Collection[Part] = MARKS) -> None:
    """Add a layer to an open case directly under the lowest of these parts; nothing else is taken in hand."""
    chosen, active = set(viewer.layers.selection), viewer.layers.selection.active
    above = (i for i, at in enumerate(viewer.layers) if case_of(at) is case and part_of(at) in under)
    viewer.layers.insert(next(above, len(viewer.layers)), layer)
    # napari takes in hand what was added last.
    viewer.layers.selection = chosen
    viewer.layers.selection.active = active


def part_of(layer: Layer) -> Part | None:
    """Which layer of a case this is, or None where it is none."""
    return layer.metadata.get("part") if METADATA in layer.metadata else None


def case_of(layer: Layer) -> Case | None:
    """Give the case that a layer shows, or None."""
    return layer.metadata.get(METADATA)


def drawn_of(case: Case, part: Part) -> list[Drawn]:
    """Everything that the Shapes layer `part` of a case has to show."""
    position = {int(native): z for z, native in enumerate(case.volume.slice_numbers)}
    current = case.current
    drawn: list[Drawn] = []
    for row in case.rows:
        width = THICK if current is not None and row.key == current.key else THIN
        if part is Part.RECIST:
            if row.recist is not None and row.native in position:
                drawn += _recist_lines(row, row.recist, position[row.native])
        elif (row.annotation is None) == (part is Part.DETECTIONS):
            label = "" if row.score is None else f"{row.score:.2f}"
            drawn += [
                Drawn(row.key, rectangle(position[native], box), COLOURS[row.mark], width, label)
                for native, box in sorted(row.boxes.items())
                if native in position
            ]
    return drawn


def draw(layer: Shapes, drawn: Sequence[Drawn]) -> None:
    """Make a Shapes layer show `drawn`, touching its geometry only where that differs."""
    same = [d.key for d in drawn] == list(layer.features.get("key", ())) and all(
        np.allclose(old, new.corners, atol=1e-3) for old, new in zip(layer.data, drawn, strict=False)
    )
    if not same:
        kind = _shape_type(layer.metadata["part"])
        layer.data = [(d.corners, kind) for d in drawn]
        layer.features = _features(drawn)
    elif not _features(drawn).equals(layer.features.astype(object)):
        layer.features = _features(drawn)
    if drawn:
        layer.edge_color = [d.colour for d in drawn]
        layer.edge_width = [d.width for d in drawn]


def series_window(case: Case) -> Window:
    """Give the window that the series is meant to be read with."""
    return case.volume.window or DEFAULT_WINDOW


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


def mask_layer(layers: Sequence[Layer]) -> Image | None:
    """Give the mask layer among `layers`, or None."""
    return next((layer for layer in layers if part_of(layer) is Part.MASK), None)


def _shapes_tuple(case: Case, part: Part, common: dict[str, Any]) -> LayerTuple:
    drawn = drawn_of(case, part)
    look: dict[str, Any] = {
        **common,
        "name": part.value,
        "metadata": {METADATA: case, "part": part},
        "ndim": 3,
        "opacity": 1.0,
        "face_color": "transparent",
        "features": _features(drawn),
        "feature_defaults": {"key": "", "label": "", "colour": COLOURS[Mark.EXPERT]},
        "text": {"string": "{label}", "size": TEXT_SIZE, "anchor": "upper_left", "color": {"feature": "colour"}},
        "edge_color": [d.colour for d in drawn] or COLOURS[Mark.EXPERT],
        "edge_width": [d.width for d in drawn] or THIN,
        "shape_type": _shape_type(part),
    }
    return [d.corners for d in drawn], look, "shapes"


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
