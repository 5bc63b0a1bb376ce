"""Which way a scan lies on the canvas: the head up, never mirrored, and the letters that say so."""

import numpy as np
from napari.components import ViewerModel
from napari.components.overlays import TextOverlay

Order = tuple[int, ...]
# By the axis that slices are cut across (0 axial, 1 coronal, 2 sagittal): the order of the scan's axes that shows them
# upright, with right, or front, on the left.
UPRIGHT: tuple[Order, ...] = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
# Which way the axes of these orders grow: away from the reader or towards them, up or down, to the right. The first
# tells in 3D alone, where napari's own "towards" mirrors: its axes are (z, y, x), the patient's (x, y, z).
ORIENTATIONS = (("away", "down", "right"), ("away", "up", "right"), ("towards", "up", "right"))
# What rolling the axes shows next.
NEXT: dict[Order, Order] = {UPRIGHT[0]: UPRIGHT[2], UPRIGHT[2]: UPRIGHT[1], UPRIGHT[1]: UPRIGHT[0]}
# By axis (z, y, x): what lies where it begins and where it ends.
ENDS = (("F", "H"), ("A", "P"), ("R", "L"))
# An axis further from the patient's own than 45 degrees has no letter.
NEAR = float(np.cos(np.pi / 4))
LETTER_SIZE = 12
EDGES = {"left": "middle_left", "right": "middle_right", "top": "top_center", "bottom": "bottom_center"}


def shown_axes(across: int) -> tuple[int, int]:
    """Give the scan's axes (0 z, 1 y, 2 x) down and along a slice that is cut across another."""
    first, second = (axis for axis in range(3) if axis != across)
    return first, second


def upright(order: Order, before: Order) -> Order:
    """Give the order of the scan's axes that shows upright what a person turned to from another order.

    Where rolling the axes lays the body down, the next view is shown; where they are transposed, the same one.
    """
    if order in NEXT:
        return order
    rolls = before in NEXT and order == (before[-1], *before[:-1])
    return NEXT[before] if rolls else UPRIGHT[order[0]]


class HeadUp:
    """Turns a viewer's camera with the view that a person chooses, so that a scan stands upright in each."""

    def __init__(self) -> None:
        self._before: Order = ()

    def follow(self, viewer: ViewerModel) -> None:
        """Show the view that was chosen upright; the viewer's last three axes are the scan's."""
        first = viewer.dims.ndim - 3
        order = tuple(axis - first for axis in viewer.dims.order[-3:])
        # Of more axes, others may be looked along.
        if order == self._before or sorted(order) != [0, 1, 2]:
            return
        self._before = wanted = upright(order, self._before)
        if wanted != order:
            viewer.dims.order = (*viewer.dims.order[:-3], *(axis + first for axis in wanted))
        viewer.scene.camera.orientation = ORIENTATIONS[wanted[0]]


class Letters:
    """R, L, A, P, H and F at the edges of a canvas.

    Parameters
    ----------
    viewer
        The viewer whose canvas it is.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._overlays = {
            edge: TextOverlay(position=position, font_size=LETTER_SIZE, visible=False)
            for edge, position in EDGES.items()
        }
        for edge, overlay in self._overlays.items():
            viewer.canvas.overlays[f"letter_{edge}"] = overlay

    def show(self, letters: dict[str, str]) -> None:
        """Show a letter at each of these edges, none at the others."""
        for edge, overlay in self._overlays.items():
            letter = letters.get(edge, "")
            # Each of these is drawn: what stays the same is not told again.
            if letter and overlay.text != letter:
                overlay.text = letter
            if overlay.visible != bool(letter):
                overlay.visible = bool(letter)


def letters_of(viewer: ViewerModel, across: int, direction: np.ndarray) -> dict[str, str]:
    """Give the letters about a slice, by the edge they stand at.

    Parameters
    ----------
    viewer
        The viewer, whose camera says which way the slice is turned.
    across
        The scan's axis that the slice is cut across.
    direction
        3x3 array whose columns are the LPS unit vectors of the scan's x, y and z axes. An axis that lies near none of
        the patient's has no letters.
    """
    vertical, horizontal = shown_axes(across)
    down, right = viewer.scene.camera.orientation2d
    letters = {}
    if _is_known(direction, vertical):
        letters["top"], letters["bottom"] = ENDS[vertical][:: 1 if down == "down" else -1]
    if _is_known(direction, horizontal):
        letters["left"], letters["right"] = ENDS[horizontal][:: 1 if right == "right" else -1]
    return letters


def _is_known(direction: np.ndarray, axis: int) -> bool:
    return bool(direction[2 - axis, 2 - axis] > NEAR)
