"""What is inside a detector on one slice, as layers of that slice: positive anchors, objectness, branch."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap

from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.lesions.boxes import area
from napari_uld.lesions.findings import as_box
from napari_uld.viewer.case import Case
from napari_uld.viewer.layers import METADATA, Part, case_of, geometry, part_of, rectangle

KEY = "inside"
# Each rectangle costs napari time; a lesion that has more of them fills its slice anyway.
MOST_DRAWN = 300


class InsidePart(StrEnum):
    """The layers, from the bottom up; the values are their names."""

    OBJECTNESS = "Inside: objectness"
    BRANCH = "Inside: branch"
    BMC = "Inside: anchors BMC"
    BM = "Inside: anchors BM"
    IOU = "Inside: anchors IoU"


@dataclass(frozen=True)
class Style:
    """How a rule's anchors are drawn: colour, line width in pixels, opacity."""

    part: InsidePart
    colour: str
    width: float
    opacity: float


# The fewer there are, the more each one counts. Hues and lightness both differ, for readers with any colour vision.
STYLES = {
    Rule.BMC: Style(InsidePart.BMC, "#7B8CFF", 0.5, 0.7),
    Rule.BM: Style(InsidePart.BM, "#EE3377", 0.5, 0.8),
    Rule.IOU: Style(InsidePart.IOU, "#FFFFFF", 0.8, 1.0),
}
# The maps' colours as a legend gives them, where they are high.
MAP_COLOURS = {InsidePart.OBJECTNESS: "#F26A2A", InsidePart.BRANCH: "#33D6CC"}
# Where a map is 0 the scan is seen as it is, and where it is 1 still through it.
COLORMAPS = {
    InsidePart.OBJECTNESS: Colormap(
        [[0.3, 0.0, 0.5, 0.0], [0.6, 0.1, 0.4, 0.2], [0.95, 0.4, 0.1, 0.5], [1.0, 0.9, 0.3, 0.65]], name="objectness"
    ),
    InsidePart.BRANCH: Colormap([[0.0, 0.4, 0.4, 0.0], [0.0, 0.6, 0.6, 0.35], [0.2, 1.0, 0.9, 0.6]], name="branch"),
}


def show_inside(viewer: ViewerModel, case: Case, inside: Inside) -> dict[Rule, int]:
    """Show what was found inside a detector, in place of what was shown of it before.

    Returns
    -------
    dict
        How many of each rule's anchors are drawn. BMC takes all anchors of a cell, of every size and shape: drawn is
        the one of each cell that fits its lesion best.
    """
    chosen, active = set(viewer.layers.selection), viewer.layers.selection.active
    _show_map(viewer, case, InsidePart.OBJECTNESS, inside.objectness, inside.z)
    _show_map(viewer, case, InsidePart.BRANCH, inside.branch, inside.z)
    drawn = {}
    for rule, style in STYLES.items():
        boxes = _to_draw(inside.anchors[rule], inside.lesions, every_one=rule is not Rule.BMC)
        drawn[rule] = len(boxes)
        _show_boxes(viewer, case, style, boxes, inside.z)
    # napari takes in hand what was added last; nobody edits these.
    viewer.layers.selection = chosen & set(viewer.layers)
    viewer.layers.selection.active = active if active in viewer.layers else None
    return drawn


def inside_layer(viewer: ViewerModel, case: Case, part: InsidePart) -> Layer | None:
    """Give a layer of a case, or None where there is none."""
    return next((at for at in viewer.layers if case_of(at) is case and at.metadata.get(KEY) is part), None)


def _show_map(viewer: ViewerModel, case: Case, part: InsidePart, values: np.ndarray | None, z: int) -> None:
    layer = inside_layer(viewer, case, part)
    if values is None:
        if layer is not None:
            viewer.layers.remove(layer)
        return
    place = geometry(case)
    dz, _, _ = place["scale"]
    bottom, y, x = place["translate"]
    place["translate"] = (bottom + z * dz, y, x)
    if isinstance(layer, Image):
        layer.data = values[None]
        layer.translate = place["translate"]
        return
    layer = Image(
        values[None],
        **place,
        name=part.value,
        metadata={METADATA: case, KEY: part},
        colormap=COLORMAPS[part],
        contrast_limits=(0.0, 1.0),
        blending="translucent_no_depth",
    )
    viewer.layers.insert(_place(viewer, case, part), layer)


def _place(viewer: ViewerModel, case: Case, part: InsidePart) -> int:
    """Where in the list of layers a part belongs: over the scan, under what people marked."""
    parts = list(InsidePart)
    over = {*parts[parts.index(part) + 1 :], Part.RECIST, Part.LESIONS, Part.DETECTIONS}
    above = (
        i for i, at in enumerate(viewer.layers) if case_of(at) is case and {part_of(at), at.metadata.get(KEY)} & over
    )
    return next(above, len(viewer.layers))


def _to_draw(anchors: PositiveAnchors, lesions: np.ndarray, *, every_one: bool) -> np.ndarray:
    """Choose boxes (k, 4) that a person can tell apart: every one, or each cell's best; those that fit best first."""
    own = lesions[anchors.lesions]
    size = np.minimum(anchors.boxes[:, 2:], own[:, 2:]) - np.maximum(anchors.boxes[:, :2], own[:, :2])
    shared = np.clip(size, 0, None).prod(axis=1)
    best = np.argsort(-shared / (area(anchors.boxes) + area(own) - shared), kind="stable")
    if not every_one:
        # Anchors of one cell have one centre.
        centres = np.column_stack([anchors.levels, (anchors.boxes[:, :2] + anchors.boxes[:, 2:]).round(3)])
        _, first = np.unique(centres[best], axis=0, return_index=True)
        best = best[np.sort(first)]
    return anchors.boxes[best[:MOST_DRAWN]]


def _show_boxes(viewer: ViewerModel, case: Case, style: Style, boxes: np.ndarray, z: int) -> None:
    corners = [rectangle(z, as_box(box)) for box in boxes]
    layer = inside_layer(viewer, case, style.part)
    if isinstance(layer, Shapes):
        layer.data = [(at, "rectangle") for at in corners]
    else:
        layer = Shapes(
            corners,
            **geometry(case),
            ndim=3,
            shape_type="rectangle",
            name=style.part.value,
            metadata={METADATA: case, KEY: style.part},
            face_color="transparent",
            opacity=style.opacity,
        )
        layer.editable = False
        viewer.layers.insert(_place(viewer, case, style.part), layer)
    if corners:
        layer.edge_color = style.colour
        layer.edge_width = style.width
