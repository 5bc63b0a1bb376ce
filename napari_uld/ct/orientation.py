"""Where the axes of slices go when a volume is turned to the patient's left, back and head."""

from itertools import permutations

import numpy as np


def orders(cosines: np.ndarray) -> tuple[tuple[int, ...], list[int]]:
    """Give the grid axis nearest to each of the patient's x, y and z, and the same as an order of array axes.

    Column a of ``cosines`` says where grid axis a (x, y, z) points.
    """
    order = max(permutations(range(3)), key=lambda p: sum(abs(cosines[world, p[world]]) for world in range(3)))
    # `order` speaks of axes x, y, z; array axes run z, y, x.
    return order, [2 - order[2 - axis] for axis in range(3)]


def room_for(direction: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Make room for slices as their files have them that `to_lps` will not have to copy.

    Parameters
    ----------
    direction
        As in `Stack`.
    shape
        Slices, rows and columns.

    Returns
    -------
    int16 (slices, rows, columns), not filled: a view of an array that lies in memory as `to_lps` turns it.
    """
    order, array_order = orders(direction)
    turned = np.empty([shape[axis] for axis in array_order], np.int16)
    backwards = tuple(2 - world for world in range(3) if direction[world, order[world]] < 0)
    return np.flip(turned, backwards).transpose(np.argsort(array_order))


def z_along(direction: np.ndarray, count: int) -> range | None:
    """Give the z that `to_lps` gives each of so many slices; None where they are not axial, so that none has a z."""
    if orders(direction)[0][2] != 2:
        return None
    return range(count) if direction[2, 2] > 0 else range(count)[::-1]
