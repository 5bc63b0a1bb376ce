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


def beside(line: Drawn, spacing: Sequence[float], zoom: float) -> Drawn:
    """Write a line's label to the right of its end that lies furthest there, or level with the middle of an outline.

    Parameters
    ----------
    line
        What is drawn, flat on a slice.
    spacing
        The scan's voxel size (z, y, x) in mm.
    zoom
        How many pixels of the screen a millimetre is.
    """
    right = 2 if np.ptp(line.corners[:, 2]) > 0 or np.ptp(line.corners[:, 1]) == 0 else 1
    place = line.corners[int(line.corners[:, right].argmax())].copy()
    if len(line.corners) > 2:
        place = line.corners.mean(axis=0)
        place[right] = line.corners[:, right].max()
    place[right] += BESIDE / zoom / spacing[right]
    return replace(line, place=place)
