"""From a map over a box back to the slice that the box lies on."""

import numpy as np


def paste_map(values: np.ndarray, box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resample a map over a box at the slice's own pixels.

    The map's cells share the box evenly; between their centres values are interpolated linearly, and
    beyond the outermost centres the outermost value goes on to the box's edge.

    Parameters
    ----------
    values
        (h, w) map.
    box
        (4,) pixel-centre box (x1, y1, x2, y2) that the map covers; parts of it may lie beyond the slice.
    shape
        (height, width) of the slice in pixels.

    Returns
    -------
    np.ndarray
        (height, width) float32; 0 at pixels whose centres lie outside the box.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    pasted = np.zeros(shape, np.float32)
    rows, of_rows = _weights(y1, y2, values.shape[0], shape[0])
    columns, of_columns = _weights(x1, x2, values.shape[1], shape[1])
    pasted[rows, columns] = of_rows @ values @ of_columns.T
    return pasted


def _weights(low: float, high: float, cells: int, length: int) -> tuple[slice, np.ndarray]:
    """Pixels of one axis whose centres lie in [low, high], and each one's weights (pixels, cells)."""
    first, end = max(0, int(np.ceil(low))), min(length, int(np.floor(high)) + 1)
    # An empty box covers nothing, and cells of no size have no centres.
    if high <= low or end <= first:
        return slice(0, 0), np.zeros((0, cells))
    at = (np.arange(first, end) - low) * cells / (high - low) - 0.5
    at = np.clip(at, 0, cells - 1)
    # A cell's weight falls from 1 at its centre to 0 at its neighbours'.
    return slice(first, end), np.clip(1 - np.abs(at[:, None] - np.arange(cells)), 0, None)
