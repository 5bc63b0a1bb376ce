"""What is inside a detector on one slice, as layers of that slice: positive anchors, objectness, branch."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap

from napari_uld.inference.inside_result import Inside, PositiveAnchors, Rule
from napari_uld.lesions.findings import as_box
from napari_uld.viewer.case import Case
from napari_uld.viewer.layers import METADATA, case_of, geometry, rectangle

KEY = "inside"
# Of more rectangles nobody can tell one from another, and each costs napari time.
MOST_DRAWN = 200


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
    Rule.BMC: Style(InsidePart.BMC, "#7B8CFF", 0.3, 0.4),
    Rule.BM: Style(InsidePart.BM, "#EE3377", 0.5, 0.8),
    Rule.IOU: Style(InsidePart.IOU, "#FFFFFF", 0.8, 1.0),
}
# Nothing is drawn where a map is 0.
OBJECTNESS_COLOURS = "inferno"
BRANCH_COLOURS = Colormap([[0, 0, 0], [0, 0.45, 0.35], [0.1, 0.9, 0.7]], name="branch")


def show_inside(viewer: ViewerModel, case: Case, inside: Inside) -> dict[Rule, int]:
    """Show what was found inside a detector, in place of what was shown of it before.

    Returns
    -------
    dict
        How many of each rule's anchors are drawn: of more than `MOST_DRAWN` as many, picked at random.
    """
    chosen = set(viewer.layers.selection)
    active = viewer.layers.selection.active
    _show_map(viewer, case, InsidePart.OBJECTNESS, inside.objectness, inside.z)
    _show_map(viewer, case, InsidePart.BRANCH, inside.branch, inside.z)
    drawn = {rule: _show_anchors(viewer, case, STYLES[rule], inside.anchors[rule], inside.z) for rule in STYLES}
    # napari takes in hand what was added last; nobody edits these.
    viewer.layers.selection = chosen
    viewer.layers.selection.active = active
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
    viewer.add_image(
        values[None],
        **place,
        name=part.value,
        metadata={METADATA: case, KEY: part},
        colormap=OBJECTNESS_COLOURS if part is InsidePart.OBJECTNESS else BRANCH_COLOURS,
        contrast_limits=(0.0, 1.0),
        blending="additive",
        opacity=0.7,
    )


def _show_anchors(viewer: ViewerModel, case: Case, style: Style, anchors: PositiveAnchors, z: int) -> int:
    count = len(anchors.boxes)
    # The same ones each time; evenly spaced ones could all be of one shape.
    picked = np.sort(np.random.default_rng(0).permutation(count)[:MOST_DRAWN])
    corners = [rectangle(z, as_box(anchors.boxes[i])) for i in picked]
    layer = inside_layer(viewer, case, style.part)
    if isinstance(layer, Shapes):
        layer.data = [(at, "rectangle") for at in corners]
    else:
        layer = viewer.add_shapes(
            corners,
            **geometry(case),
            ndim=3,
            shape_type="rectangle",
            name=style.part.value,
            metadata={METADATA: case, KEY: style.part},
            face_color="transparent",
            edge_color=style.colour,
            edge_width=style.width,
            opacity=style.opacity,
        )
        layer.editable = False
    if corners:
        layer.edge_color = style.colour
        layer.edge_width = style.width
    return len(corners)
