"""Windows: which Hounsfield units are shown as black and which as white."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

Window = tuple[float, float]

# Air as CT images store it, and what lies outside the field of view.
AIR_HU = -1024

# (low, high) HU; the usual centre and width: lung -600/1500, mediastinum 50/350, liver 60/160, bone 400/1800.
WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "lung": (-1350.0, 150.0),
        "mediastinum": (-125.0, 225.0),
        "liver": (-20.0, 140.0),
        "bone": (-500.0, 1300.0),
    }
)


def to_uint8(hu: np.ndarray, window: Window) -> np.ndarray:
    """Show `hu` through `window`: low and below 0, high and above 255, linear and rounded between.

    Parameters
    ----------
    hu
        Array of any shape in Hounsfield units.
    window
        (low, high) HU.

    Returns
    -------
    uint8 array of the same shape.

    Raises
    ------
    ValueError
        If the window is empty or not finite.
    """
    low, high = window
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"A window needs finite HU with low < high; found ({low}, {high})")
    scaled = (np.asarray(hu, np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
