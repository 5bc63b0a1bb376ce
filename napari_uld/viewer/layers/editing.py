"""What a person does to the shapes of a case, taken over as edits of its annotations."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from napari.components import ViewerModel
from napari.layers import Shapes
from napari.utils.notifications import show_info

from napari_uld.errors import BoxError, UldError
from napari_uld.lesions.recist import Recist
from napari_uld.viewer.layers.marks import box_of, drawn_of
from napari_uld.viewer.layers.parts import PART, Part
from napari_uld.viewer.state.case import Case

HALF_A_SLICE = 0.5
T = TypeVar("T")


def take_over(case: Case, layer: Shapes, action: str, indices: Sequence[int], at: int | None) -> None:
    """Make edits of what was drawn, dragged or deleted.

    Parameters
    ----------
    case
        The open scan.
    layer
        The layer that was changed.
    action
        "added", "changed" or "removed": what napari says happened.
    indices
        The shapes it happened to.
    at
        The slice whose shapes the layer was made to show; None for all.

    Raises
    ------
    AnnotationError, BoxError, RecistError
        If the edit is impossible.
    """
    part = layer.metadata[PART]
    keys = list(layer.features["key"])
    known = [drawn.key for drawn in drawn_of(case, part, at)]
    if action == "removed" and part is not Part.RECIST:
        for key in dict.fromkeys(known):
            if known.count(key) > keys.count(key):
                case.remove(key)
    # A new shape is known by its being one too many: napari gives it the features of the one selected before.
    elif action == "added" and part is Part.LESIONS:
        _drawn_boxes(case, layer.data[len(known) :])
    elif action == "added" and len(keys) > len(known):
        show_info("Draw a new lesion as a rectangle in the Lesions layer.")
    elif action == "changed" and part is Part.RECIST:
        for key in dict.fromkeys(keys[i] for i in indices if keys[i]):
            _measured(case, key, [layer.data[i] for i, other in enumerate(keys) if other == key])
    elif action == "changed":
        _each(lambda i: _moved_box(case, keys[i], layer.data[i]), indices)


def _drawn_boxes(case: Case, shapes: Sequence[np.ndarray]) -> None:
    """Make a lesion of each shape."""

    def add(corners: np.ndarray) -> None:
        if np.ptp(corners[:, 0]) > HALF_A_SLICE:
            raise BoxError("A lesion's box lies on one slice: draw it where slices are shown one by one (axial)")
        case.select(case.add(_z(corners), box_of(corners)).id)

    _each(add, shapes)


def _each(act: Callable[[T], object], things: Iterable[T]) -> None:
    """Do something with each thing, then raise what the first one was refused with."""
    refused: list[UldError] = []
    for thing in things:
        try:
            act(thing)
        except UldError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def take_in_hand(viewer: ViewerModel, layer: Shapes, key: str, z: int, mode: str) -> None:
    """Make a lesion's shapes on slice `z` ready to be dragged, whole (`mode` "select") or by their ends ("direct")."""
    viewer.layers.selection.active = layer
    layer.mode = mode
    layer.selected_data = {
        i
        for i, (other, corners) in enumerate(zip(layer.features["key"], layer.data, strict=True))
        if other == key and _z(corners) == z
    }


def _measured(case: Case, key: str, lines: Sequence[np.ndarray]) -> None:
    recist = Recist.from_points([[(x, y) for _, y, x in line] for line in lines])
    row = case.row(key)
    if row is not None and (row.recist is None or not np.allclose(recist.points, row.recist.points)):
        case.measure(key, recist)


def _moved_box(case: Case, key: str, corners: np.ndarray) -> None:
    row = case.row(key)
    if row is None:
        return
    native = case.volume.native_slice(_z(corners))
    box = box_of(corners)
    if native == row.native and not np.allclose(box, row.box):
        case.move_box(key, box)
    elif native != row.native and not np.allclose(box, row.boxes.get(native, box)):
        show_info(f"A lesion's box is edited on its key slice, here slice {row.native}.")


def _z(corners: np.ndarray) -> int:
    return round(float(corners[0, 0]))
