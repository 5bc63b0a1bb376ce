"""The contrast phases of a study: several series of one patient on one grid."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import PhaseError

# How far apart two series' grids may lie, in voxels, anywhere in the scan.
GRID_TOLERANCE = 0.1


def with_phases(volume: CTVolume, phases: Sequence[CTVolume]) -> CTVolume:
    """Give a scan the phases of its study that a detector sees together.

    Parameters
    ----------
    phases
        In the detector's order; the scan itself is mostly one of them.

    Raises
    ------
    PhaseError
        If one does not lie on the scan's grid.
    """
    for each in phases:
        if difference := off_grid(volume, each):
            raise PhaseError(
                f"{each.name} ({each.source}) does not lie on the grid of {volume.name}: {difference}; phases are seen "
                "together voxel by voxel: register and resample it to that series first"
            )
    return replace(volume, phases=tuple(replace(each, phases=()) for each in phases))


def off_grid(volume: CTVolume, other: CTVolume) -> str:
    """Say in which way another series' voxels do not lie where a scan's do; "" if they do."""
    if other.shape != volume.shape:
        return f"it has {_times(other.shape)} voxels (z, y, x), required are {_times(volume.shape)}"
    tolerance = GRID_TOLERANCE * min(volume.spacing)
    if (np.abs(np.subtract(other.spacing, volume.spacing)) * other.shape > tolerance).any():
        return f"its voxels are {_times(other.spacing)} mm (z, y, x), required are {_times(volume.spacing)}"
    far = np.array(volume.shape[::-1]) * volume.spacing[::-1]
    if (np.abs((other.direction - volume.direction) * far) > tolerance).any():
        return "its axes point elsewhere"
    moved = np.subtract(other.origin, volume.origin)
    if (np.abs(moved) > tolerance).any():
        return f"it begins {' '.join(f'{mm:g}' for mm in moved)} mm (x, y, z) away"
    return ""


def phases_as(volume: CTVolume, names: Sequence[str]) -> tuple[CTVolume, ...]:
    """The series that a detector sees of a scan: its phases, or the scan by itself where the detector names none.

    Raises
    ------
    PhaseError
        If the scan does not come with as many phases as the detector sees.
    """
    if not names:
        return (volume,)
    if len(volume.phases) != len(names):
        there = ", ".join(each.name for each in volume.phases) or "no other series"
        raise PhaseError(
            f"The detector sees {len(names)} phases together ({', '.join(names)}), and {volume.name} comes with "
            f"{there}: give a study with all of them, or a detector of one series"
        )
    return volume.phases


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
