"""What a tool draws while the mouse moves, among the marks of the slice: no layer comes or goes for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_uld.viewer.layers.marks import Drawn, Plane

# From what is drawn to what is written beside it, in pixels of the screen.
BESIDE = 8.0


@dataclass(frozen=True, eq=False)
class Sketch:
    """What a tool has drawn.

    Parameters
    ----------
    lines
        The lines, on whichever slices they lie. A line with a lesion's key is drawn in place of that lesion's own.
    in_hand
        Whether clicks on slices are the tool's.
    unfinished
        Whether something is half drawn: its slice stays.
    """

    lines: tuple[Drawn, ...] = ()
    in_hand: bool = False
    unfinished: bool = False

    def over(self, drawn: Sequence[Drawn], plane: Plane | None) -> list[Drawn]:
        """Give what is drawn on a slice with these lines."""
        lines = self._on(plane)
        replaced = {(line.key, line.kind) for line in lines if line.key}
        return [each for each in drawn if (each.key, each.kind) not in replaced] + lines

    def labels_over(self, labelled: Sequence[Drawn], plane: Plane | None) -> list[Drawn]:
        """Give what is labelled on a slice with these lines."""
        lines = [line for line in self._on(plane) if line.label]
        replaced = {line.key for line in lines if line.key}
        return [each for each in labelled if each.key not in replaced] + lines

    def _on(self, plane: Plane | None) -> list[Drawn]:
        if plane is None:
            return []
        return [line for line in self.lines if (line.corners[:, plane.axis] == plane.index).all()]


def beside(line: Drawn, points: np.ndarray, spacing: Sequence[float], zoom: float) -> Drawn:
    """Write a line's label to the right of whichever of some points lies furthest there.

    Parameters
    ----------
    line
        What is drawn.
    points
        (n, 3) all that the label is to lie beside, in voxels (z, y, x), flat on a slice.
    spacing
        The scan's voxel size (z, y, x) in mm.
    zoom
        How many pixels of the screen a millimetre is.
    """
    # On a sagittal slice, whose x is one, y grows to the right.
    right = 2 if np.ptp(points[:, 2]) > 0 or np.ptp(points[:, 1]) == 0 else 1
    place = points[int(points[:, right].argmax())].copy()
    place[right] += BESIDE / zoom / spacing[right]
    return replace(line, place=place)
