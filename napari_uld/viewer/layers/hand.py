"""The lesion in hand: its box or its diameters as shapes that can be dragged, drawn and deleted.

It is the one layer of shapes of a case. It is seen while there is something in hand and its slice is shown, and it is
never taken away: napari ends the process at times when a layer of shapes goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from napari.layers import Shapes

from napari_uld.errors import BoxError
from napari_uld.lesions.findings import Box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.right_angles import long_first
from napari_uld.viewer.layers.marks import COLOURS, RECIST_COLOUR, Kind, recist_lines, rectangle
from napari_uld.viewer.layers.parts import LayerTuple, Part, geometry, metadata
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark

HALF_A_SLICE = 0.5


class Hold(StrEnum):
    """What of a lesion is in hand."""

    BOX = "box"
    RECIST = "RECIST"


@dataclass(frozen=True)
class Held:
    """What is in hand.

    Parameters
    ----------
    key
        Which lesion; "" while a new one is drawn.
    what
        Its box, or its diameters.
    mode
        The mode of the layer while it is seen.
    """

    key: str
    what: Hold
    mode: str

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What the marks leave to this layer."""
        return (Kind.RECIST,) if self.what is Hold.RECIST else (Kind.LESIONS, Kind.DETECTIONS)


DRAWING = Held("", Hold.BOX, "add_rectangle")


def hand_layer(case: Case) -> LayerTuple:
    """Give the layer of the lesion in hand of a newly opened case: empty, and not seen."""
    look = {
        **geometry(case),
        "name": Part.HAND.value,
        "metadata": metadata(case, Part.HAND),
        "ndim": 3,
        "opacity": 1.0,
        "face_color": "transparent",
        "edge_color": COLOURS[Mark.EXPERT],
        "features": _features(()),
        "feature_defaults": {"key": ""},
        "visible": False,
    }
    return [], look, "shapes"


def held_shapes(case: Case, held: Held | None) -> list[np.ndarray]:
    """Corners of what is in hand, in voxels (z, y, x); nothing where its slice is not on disk."""
    row = None if held is None else case.row(held.key)
    if held is None or row is None:
        return []
    try:
        z = case.volume.z_of(row.native)
    except KeyError:
        return []
    if held.what is Hold.BOX:
        return [rectangle(z, row.box)]
    return [] if row.recist is None else recist_lines(row.recist, z)


def show_hand(layer: Shapes, case: Case, held: Held | None, width: float) -> None:
    """Make the layer show what is in hand, touching its geometry only where that differs."""
    shapes, row = held_shapes(case, held), None if held is None else case.row(held.key)
    same = len(shapes) == len(layer.data) and all(
        np.allclose(old, new, atol=1e-3) for old, new in zip(layer.data, shapes, strict=True)
    )
    if not same:
        kind = "line" if held is not None and held.what is Hold.RECIST else "rectangle"
        layer.data = [(corners, kind) for corners in shapes]
    keys = ["" if held is None else held.key] * len(shapes)
    if list(layer.features.get("key", ())) != keys:
        layer.features = _features(keys)
    if shapes and row is not None and held is not None:
        colour = RECIST_COLOUR if held.what is Hold.RECIST else COLOURS[row.mark]
        layer.edge_color = colour
        layer.current_edge_color = colour
        layer.edge_width = width
    if layer.current_edge_width != width:
        layer.current_edge_width = width


def take_over(case: Case, layer: Shapes, action: str, held: Held | None) -> str | None:
    """Make edits of what was drawn, dragged or deleted; give the lesion that was drawn, or None.

    Parameters
    ----------
    case
        The open scan.
    layer
        The layer that was changed.
    action
        "added", "changed" or "removed": what napari says happened.
    held
        What the layer was made to show.

    Raises
    ------
    BoxError, RecistError
        If the edit is impossible.
    """
    known = len(held_shapes(case, held))
    if action == "added":
        return _drawn_box(case, layer.data[-1])
    if held is None or not known:
        return None
    if action == "removed" and held.what is Hold.BOX:
        if len(layer.data) < known:
            case.remove(held.key)
    elif action == "changed" and held.what is Hold.RECIST:
        _measured(case, held.key, layer.data[:known])
    elif action == "changed":
        _moved_box(case, held.key, layer.data[0])
    return None


def box_of(corners: np.ndarray) -> Box:
    """Give the box about a shape's corners (n, 3) in voxels (z, y, x)."""
    y1, x1 = (float(v) for v in corners[:, 1:].min(axis=0))
    y2, x2 = (float(v) for v in corners[:, 1:].max(axis=0))
    return x1, y1, x2, y2


def _drawn_box(case: Case, corners: np.ndarray) -> str:
    """Make a lesion of a shape; give its key."""
    if np.ptp(corners[:, 0]) > HALF_A_SLICE:
        raise BoxError("A lesion's box lies on one slice: draw it where slices are shown one by one (axial)")
    return case.add(round(float(corners[0, 0])), box_of(corners)).id


def _measured(case: Case, key: str, lines: Sequence[np.ndarray]) -> None:
    recist = Recist.from_points([[(x, y) for _, y, x in line] for line in lines])
    row = case.row(key)
    if row is not None and (row.recist is None or not np.allclose(recist.points, row.recist.points)):
        case.measure(key, long_first(recist, case.volume.spacing))


def _moved_box(case: Case, key: str, corners: np.ndarray) -> None:
    row, box = case.row(key), box_of(corners)
    if row is not None and not np.allclose(box, row.box):
        case.move_box(key, box)


def _features(keys: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({"key": list(keys)}, dtype=object)
