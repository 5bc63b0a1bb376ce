"""What people and detectors marked, on the one slice that is shown: boxes, RECIST lines and what is written there.

One layer of line segments is filled anew for every slice: hundreds of lesions that are traced through the scan are
thousands of boxes, a slice has a few of them. Data coordinates are voxels (z, y, x).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Points, Vectors
from napari.utils.color import ColorValue
from skimage.measure import find_contours

from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.viewer.layers.parts import LayerTuple, Part, geometry, metadata
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.found import said_scores
from napari_uld.viewer.state.rows import Mark, Row, slice_positions

# Okabe and Ito's colours, told apart by readers with any colour vision.
COLOURS = {
    Mark.EXPERT: "#56B4E9",
    Mark.ACCEPTED: "#00C89A",
    Mark.REJECTED: "#CC79A7",
    Mark.PENDING: "#F0A000",
}
RECIST_COLOUR = "#F0E442"
# Of a line, in pixels of the screen; the lesion at hand has the second.
THIN, THICK = 1.3, 2.6
TEXT_SIZE = 11
SPATIAL = 3


@dataclass(frozen=True)
class Plane:
    """A slice that is shown: the axis that it is cut across (0 axial, 1 coronal, 2 sagittal) and its index there."""

    axis: int
    index: int


class Kind(StrEnum):
    """What there is to be shown or hidden; the values are their names."""

    RECIST = "RECIST"
    LESIONS = "lesions"
    DETECTIONS = "detections"
    POINTS = "points"


@dataclass(frozen=True, eq=False)
class Drawn:
    """One closed or open line to draw: which lesion, its corners (n, 3) in voxels (z, y, x), how it looks.

    Of a box the corners go round it; two corners are a line. The label is written from `place` on, where that is given,
    else from the first corner of the box about the corners.
    """

    key: str
    kind: Kind
    corners: np.ndarray
    colour: str
    thick: bool = False
    label: str = ""
    place: np.ndarray | None = None


def marks_layer(case: Case) -> LayerTuple:
    """Give the layer of marks of a newly opened case, as readers do, with the marks of its middle slice."""
    plane = Plane(0, case.volume.shape[0] // 2)
    vectors, colours = segments(drawn_on(case, plane), plane, case.volume.spacing, 1.0)
    look: dict[str, Any] = {
        **geometry(case),
        "name": Part.MARKS.value,
        "metadata": metadata(case, Part.MARKS),
        "ndim": SPATIAL,
        "vector_style": "line",
        "edge_width": line_width(case.volume.spacing, plane, 1.0),
        "opacity": 1.0,
        "visible": len(vectors) > 0,
    }
    if len(vectors):
        look["edge_color"] = colours
    return vectors, look, "vectors"


def labels_layer(case: Case) -> LayerTuple:
    """Give the layer of what is written beside marks, empty."""
    look = {
        **geometry(case),
        "name": Part.LABELS.value,
        "metadata": metadata(case, Part.LABELS),
        "ndim": SPATIAL,
        "size": 0.01,
        "face_color": "transparent",
        "border_color": "transparent",
        "features": label_features(()),
        "text": labels_in({"feature": "colour"}),
        "visible": False,
    }
    return np.zeros((0, SPATIAL)), look, "points"


def drawn_on(
    case: Case, plane: Plane | None, kinds: Collection[Kind] = tuple(Kind), *, without: Collection[str] = ()
) -> list[Drawn]:
    """Everything of these kinds that there is to draw on a slice (None: slices are not shown).

    Of what the detectors in `without` found and nobody decided on, the one at hand alone is drawn.
    """
    if plane is None:
        return []
    current, position = case.current, slice_positions(case.volume)
    drawn: list[Drawn] = []
    for row in case.rows:
        at_hand = current is not None and row.key == current.key
        kind = Kind.DETECTIONS if row.annotation is None else Kind.LESIONS
        left_out = row.annotation is None and row.finding is not None and row.finding.detector in without
        if kind in kinds and (at_hand or not left_out):
            corners = _outline(row, plane, position)
            if corners is not None:
                drawn.append(Drawn(row.key, kind, corners, COLOURS[row.mark], at_hand, label_of(row)))
        measured_here = plane.axis == 0 and position.get(row.native) == plane.index
        if Kind.RECIST in kinds and row.recist is not None and measured_here:
            lines = recist_lines(row.recist, plane.index)
            drawn += [Drawn(row.key, Kind.RECIST, line, RECIST_COLOUR) for line in lines]
    return drawn


def label_of(row: Row) -> str:
    """What is written beside a lesion: its scores where a detector gave some, its diameter where it was measured."""
    score = said_scores(row.score, {} if row.finding is None else row.finding.columns)
    return f"{score}  {row.diameter:.1f} mm".strip() if row.recist is not None else score


def _outline(row: Row, plane: Plane, position: Mapping[int, int]) -> np.ndarray | None:
    """Corners (4, 3) of a lesion's box on a slice, of the body that its boxes make where that is cut from the side."""
    low, high = {0: (0, 2), 1: (1, 3), 2: (0, 2)}[plane.axis]
    cut = {
        position[native]: box
        for native, box in row.boxes.items()
        if native in position
        and (position[native] == plane.index if plane.axis == 0 else box[low] <= plane.index <= box[high])
    }
    if not cut:
        return None
    if plane.axis == 0:
        return rectangle(plane.index, cut[plane.index])
    # From the side its sides are those along the other axis.
    along = 0 if plane.axis == 1 else 1
    bottom, top = min(cut) - 0.5, max(cut) + 0.5
    first, last = min(box[along] for box in cut.values()), max(box[along + 2] for box in cut.values())
    corners = np.full((4, SPATIAL), float(plane.index))
    corners[:, 0] = bottom, bottom, top, top
    corners[:, 2 - along] = first, last, last, first
    return corners


def line_width(spacing: tuple[float, float, float], plane: Plane, zoom: float) -> float:
    """Width of a line in data units that is `THIN` on the screen where a millimetre is `zoom` pixels.

    Widths are one number for both directions: across the wider voxels. `segments` draws the others as often as needed.
    """
    return THIN / zoom / max(_in_plane(spacing, plane))


def segments(
    drawn: Sequence[Drawn], plane: Plane, spacing: tuple[float, float, float], zoom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Give the segments of lines as napari draws them, start and direction (n, 2, 3), and their colours (n, 4).

    Voxels are often longer along the body than across, and what is thick is several lines side by side: each line lies
    as many times beside itself as its width on the screen needs.
    """
    if not drawn:
        return np.zeros((0, 2, SPATIAL)), np.zeros((0, 4))
    width, place = line_width(spacing, plane, zoom), np.array(spacing)
    vectors, colours = [], []
    for each in drawn:
        starts, ends = _sides(each.corners)
        along = (ends - starts) * place
        length = np.linalg.norm(along, axis=1, keepdims=True)
        along = np.divide(along, length, out=np.zeros_like(along), where=length > 0)
        normal = _turned(along, plane)
        # How many data units a line of this width covers across itself.
        covered = width * np.linalg.norm(normal * place, axis=1)[length[:, 0] > 0]
        if not len(covered):
            continue
        wanted = (THICK if each.thick else THIN) / zoom
        copies = max(1, round(float(wanted / covered.min())))
        for offset in (np.arange(copies) - (copies - 1) / 2) * (wanted / copies):
            moved = starts + offset * normal / place
            vectors.append(np.stack([moved, ends - starts], axis=1))
            colours.append(np.tile(_rgba(each.colour), (len(starts), 1)))
    return (np.concatenate(vectors), np.concatenate(colours)) if vectors else segments((), plane, spacing, zoom)


def show_marks(layer: Vectors, drawn: Sequence[Drawn], plane: Plane, zoom: float) -> None:
    """Fill the layer of marks, which is seen: napari draws a hidden one's colours on what it showed before."""
    spacing = (float(layer.scale[-3]), float(layer.scale[-2]), float(layer.scale[-1]))
    vectors, colours = segments(drawn, plane, spacing, zoom)
    width = line_width(spacing, plane, zoom)
    if not np.array_equal(vectors, layer.data):
        _fill(layer, vectors)
    if not np.isclose(layer.edge_width, width):
        layer.edge_width = width
    if not np.array_equal(layer.edge_color, colours):
        layer.edge_color = colours


def show_labels(layer: Points, labelled: Sequence[Drawn]) -> None:
    """Write the labels of marks beside them."""
    places = [each.corners.min(axis=0) if each.place is None else each.place for each in labelled]
    features = label_features(labelled)
    if not np.array_equal(np.reshape(places, (-1, SPATIAL)), layer.data):
        _fill(layer, np.reshape(places, (-1, SPATIAL)))
    if not features.equals(layer.features.astype(object)):
        layer.features = features


def _fill(layer: Vectors | Points, data: np.ndarray) -> None:
    """Set a layer's data without having napari measure all layers again: marks lie within the scan."""
    with layer.events.data.blocker():
        layer.data = data


def labels_in(colour: object) -> dict[str, Any]:
    """How what is drawn is labelled with its feature "label", in this colour."""
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


def recist_lines(recist: Recist, z: int) -> list[np.ndarray]:
    """Give the long and the short diameter (2, 3) on slice `z`, in voxels (z, y, x)."""
    return [
        np.array([[z, y1, x1], [z, y2, x2]], dtype=np.float64) for (x1, y1), (x2, y2) in (recist.long, recist.short)
    ]


def _in_plane(spacing: tuple[float, float, float], plane: Plane) -> list[float]:
    return [size for axis, size in enumerate(spacing) if axis != plane.axis]


def _sides(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the sides of what is closed, or of the one line."""
    return (corners[:1], corners[1:]) if len(corners) == 2 else (corners, np.roll(corners, -1, axis=0))


def _turned(along: np.ndarray, plane: Plane) -> np.ndarray:
    """Unit vectors in a plane turned by a right angle, in the plane."""
    first, second = (axis for axis in range(SPATIAL) if axis != plane.axis)
    normal = np.zeros_like(along)
    normal[:, first], normal[:, second] = -along[:, second], along[:, first]
    return normal


def label_features(labelled: Iterable[Drawn]) -> pd.DataFrame:
    """What is written beside marks, as the features that `labels_in` writes from."""
    columns = {"label": [each.label for each in labelled], "colour": [each.colour for each in labelled]}
    return pd.DataFrame(columns, dtype=object)


def _rgba(colour: str) -> np.ndarray:
    return np.asarray(ColorValue(colour))
