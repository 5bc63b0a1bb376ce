"""What the headers of a DICOM series alone tell of its volume: the grid, and where each file's slice goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from napari_uld.ct.dicom_files import DAMAGED
from napari_uld.ct.dicom_images import no_pixels, slice_of, thickness_of, window_of
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.geometry import Stack, stack_slices, to_volume, why_irregular
from napari_uld.ct.orientation import room_for, z_along
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import ScanError


@dataclass(frozen=True, eq=False)
class Plan:
    """Where slices go that are yet to be read.

    Parameters
    ----------
    room
        (slices, rows, columns), or None where headers alone do not tell what the slices form.
    rooms
        Each file's place in it.
    volume
        The scan with these voxels, or None where it is not shown before all slices are there.
    places
        Each file's slice (z) in the volume.
    """

    room: np.ndarray | None = None
    rooms: Mapping[Path, np.ndarray] = field(default_factory=dict)
    volume: CTVolume | None = None
    places: Mapping[Path, int] = field(default_factory=dict)


def plan_of(entry: ScanEntry, *, shown: bool) -> Plan:
    """Plan where each file's slice goes: a plan of nothing where the headers are not all known, or no even grid.

    Parameters
    ----------
    entry
        The scan.
    shown
        Whether the plan is to have its volume.
    """
    if any(file not in entry.headers for file in entry.files):
        return Plan()
    try:
        slices = [slice_of(entry.headers[file], file, no_pixels(entry.headers[file])) for file in entry.files]
        if why_irregular(slices, entry.path):
            return Plan()
        row, column = slices[0].orientation[:3], slices[0].orientation[3:]
        direction = np.stack([row, column, np.cross(row, column)], axis=1)
        slices.sort(key=lambda one: float(one.position @ direction[:, 2]))
        room = room_for(direction, (len(slices), *slices[0].hu.shape))
        files = [one.file for one in slices]
        rooms = dict(zip(files, room, strict=True))
        if not shown:
            return Plan(room, rooms)
        first = entry.headers[entry.files[0]]
        stack = stack_slices(
            [replace(one, hu=place) for one, place in zip(slices, room, strict=True)],
            source=entry.path,
            single_spacing=thickness_of(first),
            said=entry.said,
            room=room,
        )
        volume = volume_of(entry, stack, thickness=thickness_of(first), window=window_of(first))
    except (ScanError, *DAMAGED):
        return Plan()
    along = z_along(direction, len(files))
    # Without a UID, the pixels are what identifies a scan.
    if along is None or not volume.series_uid:
        return Plan(room, rooms)
    return Plan(room, rooms, volume, dict(zip(files, along, strict=True)))


def volume_of(
    entry: ScanEntry, stack: Stack, *, thickness: float | None, window: tuple[float, float] | None
) -> CTVolume:
    """Make the volume of a scan's slices.

    Raises
    ------
    GeometryError
        If its spacing or place is absurd.
    """
    return to_volume(
        stack,
        source=entry.path,
        name=entry.name,
        series_uid=" ".join(filter(None, (entry.series_uid, entry.label))) if entry.series_uid else "",
        thickness=thickness,
        window=window,
    )
