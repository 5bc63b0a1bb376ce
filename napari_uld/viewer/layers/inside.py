"""What is inside a detector on one slice, or about one, as two layers of it: a map, and boxes; which ones is chosen."""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.colormaps import Colormap

from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.lesions.boxes import area
from napari_uld.lesions.findings import as_box
from napari_uld.viewer.layers.marks import Drawn, Kind, rectangle
from napari_uld.viewer.layers.parts import OVERLAYS, geometry, on_slice
from napari_uld.viewer.layers.slice_layer import SliceLayer, SliceLines
from napari_uld.viewer.state.case import Case

# A lesion that has more boxes fills its slice anyway.
MOST_DRAWN = 300
# Half a cross, in voxels.
CROSS = 3.0
# The fewer boxes there are, the more each one counts: up to so many are drawn thick.
FEW = 5


class InsidePart(StrEnum):
    """The layers, from the bottom up; the values are their names."""

    MAP = "Inside: map"
    BOXES = "Inside: boxes"


class Boxes(StrEnum):
    """What boxes there are, from the bottom up: anchors by the rule that makes them positive, and detections."""

    # What another detector's head calls positive, whatever that is.
    POSITIVE = "positive places"
    BMC = "BMC"
    BM = "BM"
    IOU = "IoU"
    DETECTIONS = "detections"


RULES: Mapping[str, Boxes] = {Rule.BMC: Boxes.BMC, Rule.BM: Boxes.BM, Rule.IOU: Boxes.IOU}
# Hues and lightness both differ, for readers with any colour vision.
BOX_COLOURS = {
    Boxes.POSITIVE: "#FFB000",
    Boxes.BMC: "#7B8CFF",
    Boxes.BM: "#EE3377",
    Boxes.IOU: "#FFFFFF",
    Boxes.DETECTIONS: "#A6FF4D",
}
# What the maps are called; one of an attention gate has the name of the features that it weighs after its own.
OBJECTNESS, SEGMENTATION, ATTENTION = "Objectness", "Segmentation", "Attention"
# Of a volumetric detector, on all slices that it was run on.
CENTRES = "Centres"
# The maps' colours as a legend gives them, where they are high.
MAP_COLOURS = {OBJECTNESS: "#33D6CC", CENTRES: "#33D6CC", SEGMENTATION: "#F26A2A"}
# Where a map is 0 the scan is seen as it is, and where it is 1 still through it.
OBJECTS = Colormap([[0.0, 0.4, 0.4, 0.0], [0.0, 0.6, 0.6, 0.35], [0.2, 1.0, 0.9, 0.6]], name="objectness")
COLORMAPS = {
    OBJECTNESS: OBJECTS,
    CENTRES: OBJECTS,
    SEGMENTATION: Colormap(
        [[0.3, 0.0, 0.5, 0.0], [0.6, 0.1, 0.4, 0.2], [0.95, 0.4, 0.1, 0.5], [1.0, 0.9, 0.3, 0.65]], name="heat"
    ),
}
# A gate lets something through nearly everywhere: its colours cover the slice, and equal steps look equal.
ATTENTION_COLORMAP, ATTENTION_OPACITY = "viridis", 0.6
# The same in quarters, for a legend.
ATTENTION_COLOURS = ("#440154", "#3B528B", "#21918C", "#5EC962", "#FDE725")


class InsideLayers:
    """The two layers.

    Parameters
    ----------
    viewer
        The viewer that they are in.
    later
        Does something once napari is through with what it is doing.
    """

    def __init__(self, viewer: ViewerModel, later: Callable[[Callable[[], None]], object]) -> None:
        self._map = SliceLayer(viewer, InsidePart.MAP, (InsidePart.BOXES, *OVERLAYS))
        self._boxes = SliceLines(viewer, InsidePart.BOXES, OVERLAYS, later)
        self._has_map = False

    def take(self, case: Case, inside: Inside, name: str, kinds: Collection[Boxes]) -> None:
        """Take the map of this name and the boxes of these kinds in place of what was there; `see` shows them."""
        values = maps_of(inside).get(name)
        self._has_map = values is not None
        if values is not None:
            self._show_map(case, name, values, _place(case, inside))
        drawn: list[Drawn] = []
        for kind, boxes in boxes_of(case, inside).items():
            if kind in kinds:
                corners = (each for box in boxes for each in _rectangles(box, inside.z))
                few = len(boxes) <= FEW
                drawn += [Drawn("", Kind.DETECTIONS, each, BOX_COLOURS[kind], thick=few) for each in corners]
        if Boxes.DETECTIONS in kinds:
            lines = (line for ends in origins_of(case, inside) for line in ends)
            drawn += [Drawn("", Kind.DETECTIONS, each, BOX_COLOURS[Boxes.DETECTIONS]) for each in lines]
        self._boxes.draw(case, drawn, inside.z)

    def see(self, something: bool, *, in_3d: bool) -> None:
        """Show or hide them; in 3D boxes on many slices would hide what they are about."""
        self._map.see(something and self._has_map)
        self._boxes.see(something and not in_3d)

    def open(self) -> None:
        """Let them be seen again where a person hid them."""
        self._map.open()
        self._boxes.open()

    def release(self) -> None:
        """Take them away for good."""
        self._map.remove()
        self._boxes.release()

    def _show_map(self, case: Case, name: str, values: np.ndarray, place: dict[str, Any]) -> None:
        layer = self._map.of(case, lambda: _map_layer(values, place))
        layer.data, layer.scale, layer.translate = values, place["scale"], place["translate"]
        layer.colormap = COLORMAPS.get(name, ATTENTION_COLORMAP)
        layer.opacity = 1.0 if name in COLORMAPS else ATTENTION_OPACITY


def maps_of(inside: Inside) -> dict[str, np.ndarray]:
    """Give the maps (d, h, w) that there are, by name, what a person looks at first at the beginning.

    Those of slabs are of one slice; the centres' cells lie as `Inside.centres` says.
    """
    maps = {OBJECTNESS: inside.objectness, SEGMENTATION: inside.branch}
    maps |= {f"{ATTENTION} {features}": values for features, values in inside.attention.items()}
    given = {name: values[None] for name, values in maps.items() if values is not None}
    return given if inside.centres is None else {CENTRES: inside.centres.values, **given}


def slices_of(inside: Inside) -> range:
    """Give the indices of the slices that there is something to be seen on."""
    return range(inside.z, inside.z + 1) if inside.centres is None else inside.centres.slices


def boxes_of(case: Case, inside: Inside) -> dict[Boxes, np.ndarray]:
    """Give the boxes (k, 4), or (k, 6) of a volumetric detector, to draw, by kind; a recipe has no detections.

    BMC takes all anchors of a cell, of every size and shape: given is the one of each cell that fits its lesion best.
    Of the detections those are given that a review would show.
    """
    boxes: dict[Boxes, np.ndarray] = {}
    for rule, anchors in inside.anchors.items():
        kind, drawn = kind_of(rule), _to_draw(anchors, inside.lesions, every_one=rule != Rule.BMC)
        boxes[kind] = np.concatenate([boxes[kind], drawn]) if kind in boxes else drawn
    if inside.objectness is not None or inside.centres is not None:
        boxes[Boxes.DETECTIONS] = inside.boxes[_reviewed(case, inside)]
    return {kind: boxes[kind] for kind in Boxes if kind in boxes}


def origins_of(case: Case, inside: Inside) -> list[list[np.ndarray]]:
    """Lines (2, 3) for each detection that is drawn: a cross where it comes from, and from there to its box's middle.

    A detector that has no such places has none.
    """
    if inside.places is None:
        return []
    shown, crosses = _reviewed(case, inside), []
    for (x, y), (x1, y1, x2, y2) in zip(inside.places[shown], inside.boxes[shown], strict=True):
        middle = (x1 + x2) / 2, (y1 + y2) / 2
        ends = [((x - CROSS, y), (x + CROSS, y)), ((x, y - CROSS), (x, y + CROSS)), ((x, y), middle)]
        crosses.append([np.array([[inside.z, v, u] for u, v in line], float) for line in ends])
    return crosses


def _reviewed(case: Case, inside: Inside) -> np.ndarray:
    """Which detections a review would show."""
    return inside.scores >= case.thresholds.of(inside.detector, inside.operating_point)


def kind_of(rule: str) -> Boxes:
    """What a rule makes positive: anchors by one of three, else whatever places a detector's head has."""
    return RULES.get(rule, Boxes.POSITIVE)


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


def _rectangles(box: np.ndarray, z: int) -> list[np.ndarray]:
    """Corners (4, 3) of a box on slice `z`, of a 3D one on every slice whose middle it holds."""
    if len(box) == 4:
        return [rectangle(z, as_box(box))]
    on_slices = range(int(np.ceil(box[2])), int(np.floor(box[5])) + 1)
    return [rectangle(each, as_box(box[[0, 1, 3, 4]])) for each in on_slices]


def _place(case: Case, inside: Inside) -> dict[str, Any]:
    """Where a map lies: on its slice, or where the cells of the centres' lie."""
    heat = inside.centres
    if heat is None:
        return on_slice(case, inside.z)
    place = geometry(case)
    spacing = np.array(place["scale"])
    return {**place, "scale": spacing * heat.step, "translate": place["translate"] + spacing * heat.middle}


def _map_layer(values: np.ndarray, place: dict[str, Any]) -> Image:
    return Image(
        values,
        **place,
        contrast_limits=(0.0, 1.0),
        interpolation2d="linear",
        visible=False,
        blending="translucent_no_depth",
    )
