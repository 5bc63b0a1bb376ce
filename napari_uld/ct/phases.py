"""The contrast phases of a study: several series of one patient on one grid."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.reading import find_scans, read_entry
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AmbiguousScanError, PhaseError, ScanError

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


def read_study(path: Path | str, series: Sequence[str], phases: Sequence[str]) -> CTVolume:
    """Read those scans at a path that are a study's phases.

    Parameters
    ----------
    path
        As for `find_scans`.
    series
        The scans of the phases by name, in the detector's order. Where names tell it, as DeepLesion's do, one of the
        study's is enough, or none if the path holds no more.
    phases
        What the detector calls its phases.

    Returns
    -------
    CTVolume
        The first of the study's series, or the one that was named, with its `phases`.

    Raises
    ------
    AmbiguousScanError
        If nothing says which series is which phase.
    ScanError
        If one is not there or cannot be read.
    PhaseError
        If they do not lie on one grid.
    """
    scans = find_scans(path)
    by_name = {entry.name: entry for entry in scans}
    if unknown := [name for name in series if name not in by_name]:
        raise ScanError(f"{path} has no scan called {unknown[0]!r}; it holds {', '.join(list(by_name)[:20])}")
    if len(scans) < len(phases):
        raise PhaseError(
            f"{path} holds no more than {', '.join(by_name)}, and the detector sees {len(phases)} phases together "
            f"({', '.join(phases)}): give the folder that holds all series of the study"
        )
    chosen = [by_name[name] for name in series]
    if len(chosen) < 2:
        chosen = _of_study(scans, chosen)[: len(phases)]
    if len(chosen) != len(phases) or len(set(series)) != len(series):
        raise AmbiguousScanError(
            f"{path} holds {len(scans)} scans ({', '.join(list(by_name)[:20])}), and the detector sees {len(phases)} "
            f"phases together: name the scan of each, in this order: {', '.join(phases)}"
        )
    read = [read_entry(entry) for entry in chosen]
    named = [each for entry, each in zip(chosen, read, strict=True) if entry.name in series]
    return with_phases((named or read)[0], read)


def _of_study(scans: Sequence[ScanEntry], chosen: Sequence[ScanEntry]) -> list[ScanEntry]:
    """All series of the one study that there is, or that `chosen` is of, where their names say so; in order."""
    studies = {study_name(entry) for entry in chosen or scans}
    if len(studies) != 1 or "" in studies:
        return []
    return sorted((entry for entry in scans if study_name(entry) in studies), key=lambda entry: entry.name)


def study_name(entry: ScanEntry) -> str:
    """What a series' name says of its study ("000001_01" of "000001_01_02"), "" where it says nothing."""
    return entry.name.rpartition("_")[0] if entry.kind == "deeplesion" and entry.name.count("_") == 2 else ""


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)
