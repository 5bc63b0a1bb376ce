"""What is inside a detector on one slice, as layers of that slice: positive anchors, maps, detections."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.colormaps import Colormap

from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.lesions.boxes import area
from napari_uld.lesions.findings import as_box
from napari_uld.viewer.layers.marks import labels_in, rectangle
from napari_uld.viewer.layers.parts import (
    OVERLAYS,
    find_layer,
    geometry,
    insert_layer,
    metadata,
    on_slice,
    selection_kept,
)
from napari_uld.viewer.state.case import Case

# Each rectangle costs napari time; a lesion that has more of them fills its slice anyway.
MOST_DRAWN = 300


class InsidePart(StrEnum):
    """The layers, from the bottom up; the values are their names."""

    AT_C4 = "Inside: attention C4"
    AT_C3 = "Inside: attention C3"
    AT_C2 = "Inside: attention C2"
    AT_C1 = "Inside: attention C1"
    AT_INPUT = "Inside: attention input"
    AT_OTHERS = "Inside: attention"
    OBJECTNESS = "Inside: objectness"
    SEGMENTATION = "Inside: segmentation"
    POSITIVE = "Inside: positive places"
    BMC = "Inside: anchors BMC"
    BM = "Inside: anchors BM"
    IOU = "Inside: anchors IoU"
    DETECTIONS = "Inside: detections"


@dataclass(frozen=True)
class Style:
    """How boxes are drawn: colour and opacity."""

    colour: str
    opacity: float


# The attention maps' layers by the features that they weigh.
ATTENTION = {
    "C4": InsidePart.AT_C4,
    "C3": InsidePart.AT_C3,
    "C2": InsidePart.AT_C2,
    "C1": InsidePart.AT_C1,
    "input": InsidePart.AT_INPUT,
}
# The layers of anchors by the rule that makes them positive.
RULES: dict[str, InsidePart] = {Rule.BMC: InsidePart.BMC, Rule.BM: InsidePart.BM, Rule.IOU: InsidePart.IOU}


def part_of_rule(rule: str) -> InsidePart:
    """The layer of what a rule makes positive: anchors by one of three, else whatever places a detector's head has."""
    return RULES.get(rule, InsidePart.POSITIVE)


# Hues and lightness both differ, for readers with any colour vision.
STYLES = {
    InsidePart.POSITIVE: Style("#FFB000", 0.9),
    InsidePart.BMC: Style("#7B8CFF", 0.7),
    InsidePart.BM: Style("#EE3377", 0.8),
    InsidePart.IOU: Style("#FFFFFF", 1.0),
    InsidePart.DETECTIONS: Style("#A6FF4D", 1.0),
}
# Line widths in pixels: the fewer boxes there are, the more each one counts.
FEW, THICK, THIN = 5, 0.8, 0.5
# The maps' colours as a legend gives them, where they are high.
MAP_COLOURS = {InsidePart.OBJECTNESS: "#33D6CC", InsidePart.SEGMENTATION: "#F26A2A"}
# Where a map is 0 the scan is seen as it is, and where it is 1 still through it.
COLORMAPS = {
    InsidePart.OBJECTNESS: Colormap(
        [[0.0, 0.4, 0.4, 0.0], [0.0, 0.6, 0.6, 0.35], [0.2, 1.0, 0.9, 0.6]], name="objectness"
    ),
    InsidePart.SEGMENTATION: Colormap(
        [[0.3, 0.0, 0.5, 0.0], [0.6, 0.1, 0.4, 0.2], [0.95, 0.4, 0.1, 0.5], [1.0, 0.9, 0.3, 0.65]], name="heat"
    ),
}
# A gate lets something through nearly everywhere: its colours cover the slice, and equal steps look equal.
ATTENTION_COLORMAP, ATTENTION_OPACITY = "viridis", 0.6
# The same in quarters, for a legend.
ATTENTION_COLOURS = ("#440154", "#3B528B", "#21918C", "#5EC962", "#FDE725")


def show_inside(viewer: ViewerModel, case: Case, inside: Inside) -> dict[InsidePart, int]:
    """Show what was found inside a detector, in place of what was shown of it before.

    Returns
    -------
    dict
        How many boxes each layer of boxes draws. BMC takes all anchors of a cell, of every size and shape: drawn is
        the one of each cell that fits its lesion best. Of the detections those are drawn that a review would show.
    """
    maps, boxes = _maps(inside), _boxes(case, inside)
    # Nobody edits these layers.
    with selection_kept(viewer):
        for part in InsidePart:
            if part in maps:
                _show_map(viewer, case, part, maps[part], inside.z)
            elif part in boxes:
                _show_boxes(viewer, case, part, boxes[part], inside.z)
            elif (layer := find_layer(viewer, case, part)) is not None:
                viewer.layers.remove(layer)
        _write_scores(viewer, case, inside.scores)
    return {part: len(drawn) for part, drawn in boxes.items()}


def _maps(inside: Inside) -> dict[InsidePart, np.ndarray]:
    """The maps (H, W) that there are, by their layers."""
    maps: dict[InsidePart, np.ndarray] = {}
    for features, values in inside.attention.items():
        part = ATTENTION.get(features, InsidePart.AT_OTHERS)
        maps[part] = np.maximum(maps[part], values) if part in maps else values
    others = {InsidePart.OBJECTNESS: inside.objectness, InsidePart.SEGMENTATION: inside.branch}
    return maps | {part: values for part, values in others.items() if values is not None}


def _boxes(case: Case, inside: Inside) -> dict[InsidePart, np.ndarray]:
    """The boxes (k, 4) to draw, by their layers; a recipe, which has no objectness either, has no detections."""
    boxes: dict[InsidePart, np.ndarray] = {}
    for rule, anchors in inside.anchors.items():
        part, drawn = part_of_rule(rule), _to_draw(anchors, inside.lesions, every_one=rule != Rule.BMC)
        boxes[part] = np.concatenate([boxes[part], drawn]) if part in boxes else drawn
    if inside.objectness is not None:
        lowest = case.thresholds.of(inside.detector, inside.operating_point)
        boxes[InsidePart.DETECTIONS] = inside.boxes[inside.scores >= lowest]
    return boxes


def _show_map(viewer: ViewerModel, case: Case, part: InsidePart, values: np.ndarray, z: int) -> None:
    layer = find_layer(viewer, case, part)
    place = on_slice(case, z)
    if isinstance(layer, Image):
        layer.data = values[None]
        layer.translate = place["translate"]
        return
    of_gate = part in (*ATTENTION.values(), InsidePart.AT_OTHERS)
    layer = Image(
        values[None],
        **place,
        name=part.value,
        metadata=metadata(case, part),
        colormap=ATTENTION_COLORMAP if of_gate else COLORMAPS[part],
        contrast_limits=(0.0, 1.0),
        opacity=ATTENTION_OPACITY if of_gate else 1.0,
        # They would hide each other and the scan: a person shows the one to look at.
        visible=not of_gate,
        blending="translucent_no_depth",
    )
    insert_layer(viewer, case, layer, under=_above(part))


def _above(part: InsidePart) -> list[StrEnum]:
    """What a part belongs under: the parts after it, and what people marked."""
    parts = list(InsidePart)
    return [*parts[parts.index(part) + 1 :], *OVERLAYS]


def _to_draw(anchors: PositiveAnchors, lesions: np.ndarray, *, every_one: bool) -> np.ndarray:
    """Choose boxes (k, 4) that a person can tell apart: every one, or each cell's best; those that fit best first."""
    taught = lesions[anchors.lesions]
    size = np.minimum(anchors.boxes[:, 2:], taught[:, 2:]) - np.maximum(anchors.boxes[:, :2], taught[:, :2])
    overlap = np.clip(size, 0, None).prod(axis=1)
    best = np.argsort(-overlap / (area(anchors.boxes) + area(taught) - overlap), kind="stable")
    if not every_one:
        # Anchors of one cell have one centre.
        centres = np.column_stack([anchors.levels, (anchors.boxes[:, :2] + anchors.boxes[:, 2:]).round(3)])
        _, first = np.unique(centres[best], axis=0, return_index=True)
        best = best[np.sort(first)]
    return anchors.boxes[best[:MOST_DRAWN]]


def _show_boxes(viewer: ViewerModel, case: Case, part: InsidePart, boxes: np.ndarray, z: int) -> None:
    rectangles = [rectangle(z, as_box(box)) for box in boxes]
    style = STYLES[part]
    layer = find_layer(viewer, case, part)
    if isinstance(layer, Shapes):
        layer.data = [(corners, "rectangle") for corners in rectangles]
    else:
        layer = Shapes(
            rectangles,
            **geometry(case),
            ndim=3,
            shape_type="rectangle",
            name=part.value,
            metadata=metadata(case, part),
            face_color="transparent",
            opacity=style.opacity,
        )
        layer.editable = False
        insert_layer(viewer, case, layer, under=_above(part))
    if rectangles:
        layer.edge_color = style.colour
        layer.edge_width = THICK if len(rectangles) <= FEW else THIN


def _write_scores(viewer: ViewerModel, case: Case, scores: np.ndarray) -> None:
    """Write the best scores on the detections, as many as are drawn."""
    layer = find_layer(viewer, case, InsidePart.DETECTIONS)
    if isinstance(layer, Shapes) and layer.nshapes:
        labels = [f"{score:.2f}" for score in scores[: layer.nshapes]]
        layer.features = pd.DataFrame({"label": labels}, dtype=object)
        layer.text = labels_in(STYLES[InsidePart.DETECTIONS].colour)
