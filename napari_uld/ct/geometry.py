"""The grid of a scan: slices checked and stacked, axes turned to left, back and head.

Nothing is resampled: slices are sorted, axes permuted and flipped, and what does not fit a
regular grid is refused by name. What was put right is said in `Stack.corrections`.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from napari_uld.ct.orientation import orders
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import (
    DuplicateSlicesError,
    GeometryError,
    MissingSlicesError,
    MixedSlicesError,
    UnevenSpacingError,
)

# Two slices closer than this lie at one position (mm).
SAME_POSITION = 0.01
# A slice may lie this far off its place on the regular grid: a fraction of the slice spacing,
# or what is lost where positions, its own and those of the ends, are written with one decimal (mm),
# whichever is more.
PLACE_FRACTION = 0.05
PLACE_ROUNDING = 0.101
# In-plane pixel spacings that differ by less are the same (mm).
PIXEL_SPACING_TOLERANCE = 1e-3
# Direction cosines that differ by less are the same; also how far from orthonormal they may be.
COSINE_TOLERANCE = 1e-3
# Slices may shift sideways this far off a straight line (mm).
SIDEWAYS_TOLERANCE = 0.5
# Angles below these are not worth telling (degrees).
TILT_TOLERANCE = 0.1
OBLIQUE_TOLERANCE = 0.5
# Voxels outside these are no CT (mm).
SMALLEST_SPACING, LARGEST_SPACING = 0.01, 50.0
# Slices further apart than this many thicknesses leave tissue unseen.
GAP_FACTOR = 1.5


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice as its file has it.

    Parameters
    ----------
    hu
        int16 (rows, columns).
    position
        LPS mm (x, y, z) of the centre of its first pixel.
    orientation
        LPS unit vectors along a row (growing column) and along a column (growing row), six numbers.
    spacing
        mm between (rows, columns).
    number
        The file's own slice number, or None.
    file
        Where it was read from.
    """

    hu: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    number: int | None
    file: Path

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"slice {self.number}" if self.number is not None else self.file.name


@dataclass(frozen=True, eq=False)
class Stack:
    """Voxels (z, y, x) on a regular grid, in any orientation; fields as in `CTVolume`."""

    hu: np.ndarray
    spacing: tuple[float, float, float]
    origin: np.ndarray
    direction: np.ndarray
    slice_numbers: np.ndarray
    corrections: tuple[str, ...] = ()


def stack_slices(
    slices: list[Slice],
    *,
    source: Path,
    single_spacing: float | None = None,
    said: tuple[str, ...] = (),
    room: np.ndarray | None = None,
) -> Stack:
    """Sort slices along their normal and stack them, refusing what is not one regular grid.

    Parameters
    ----------
    slices
        In any order.
    source
        What messages call the series.
    single_spacing
        The z spacing (mm) to take where there is a single slice.
    said
        What was put right before.
    room
        What the slices may have been read into, (z, rows, columns): where they lie in it one after the other, nothing
        is copied.

    Raises
    ------
    GeometryError
        Its subclasses for mixed, duplicate, missing and unevenly spaced slices; itself where a single
        slice has no spacing.
    """
    _check_alike(slices, source)
    row, column = slices[0].orientation[:3], slices[0].orientation[3:]
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda one: float(one.position @ normal))
    slices, corrections = _drop_duplicates(slices, normal, source)
    positions = np.array([one.position for one in slices])
    if len(slices) == 1:
        if single_spacing is None:
            raise GeometryError(
                f"{slices[0].file} is a single slice, alone in its series, and its header has no slice thickness; a "
                "volume needs the distance between slices: open a series of several slices"
            )
        spacing = single_spacing
        corrections.append(f"a single slice: its thickness, {spacing:g} mm, serves as slice spacing")
    else:
        spacing = _slice_spacing(slices, positions @ normal, source)
        corrections += _sideways(positions, normal, source)
    numbers, about_numbers = _slice_numbers(slices)
    return Stack(
        hu=room if room is not None and _fill(slices, room) else np.stack([one.hu for one in slices]),
        spacing=(spacing, *slices[0].spacing),
        origin=positions[0],
        direction=np.stack([row, column, normal], axis=1),
        slice_numbers=numbers,
        corrections=(*said, *corrections, *about_numbers),
    )


def _fill(slices: list[Slice], room: np.ndarray) -> bool:
    """Tell whether the slices' pixels are those of the room, in its order."""
    return len(slices) == len(room) and all(
        one.hu.__array_interface__ == place.__array_interface__ for one, place in zip(slices, room, strict=True)
    )


def why_irregular(slices: list[Slice], source: Path) -> GeometryError | None:
    """Say why slices, known by their headers only, are no regular grid; None where they are one."""
    try:
        _check_alike(slices, source)
        normal = np.cross(slices[0].orientation[:3], slices[0].orientation[3:])
        slices = sorted(slices, key=lambda one: float(one.position @ normal))
        positions = np.array([one.position for one in slices])
        along = positions @ normal
        if (np.diff(along) <= SAME_POSITION).any():
            raise DuplicateSlicesError(f"{source}: several slices lie at one position")
        if len(slices) > 1:
            _slice_spacing(slices, along, source)
            _sideways(positions, normal, source)
    except GeometryError as error:
        return error
    return None


def _check_alike(slices: list[Slice], source: Path) -> None:
    """Refuse slices of different size, pixel spacing or orientation."""
    first = slices[0]
    row, column = first.orientation[:3], first.orientation[3:]
    off = [abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)]
    if not max(off) <= COSINE_TOLERANCE:
        raise GeometryError(
            f"{first.file}: the image orientation {first.orientation.tolist()} is not two unit vectors at right "
            "angles; export the series again"
        )
    # All at once: one by one it takes longer than reading them.
    spacings = np.array([one.spacing for one in slices]) - first.spacing
    orientations = np.array([one.orientation for one in slices]) - first.orientation
    alike = (np.abs(spacings) <= PIXEL_SPACING_TOLERANCE).all(1) & (np.abs(orientations) <= COSINE_TOLERANCE).all(1)
    for other, is_alike in zip(slices, alike, strict=True):
        if is_alike and other.hu.shape == first.hu.shape:
            continue
        differs = None
        if other.hu.shape != first.hu.shape:
            differs = f"size {other.hu.shape} against {first.hu.shape} (rows, columns)"
        elif not np.allclose(other.spacing, first.spacing, rtol=0, atol=PIXEL_SPACING_TOLERANCE):
            differs = f"pixel spacing {other.spacing} against {first.spacing} mm"
        elif not np.allclose(other.orientation, first.orientation, rtol=0, atol=COSINE_TOLERANCE):
            differs = f"orientation {other.orientation.tolist()} against {first.orientation.tolist()}"
        if differs:
            raise MixedSlicesError(
                f"{source} mixes slices: {other.file.name} and {first.file.name} differ in {differs}; "
                "a volume needs one grid: put each part into its own folder"
            )


def _drop_duplicates(slices: list[Slice], normal: np.ndarray, source: Path) -> tuple[list[Slice], list[str]]:
    """Keep one of each set of identical slices at one position; refuse different ones."""
    kept: list[Slice] = []
    dropped: list[Slice] = []
    for one in slices:
        if not kept or (one.position - kept[-1].position) @ normal > SAME_POSITION:
            kept.append(one)
        elif np.array_equal(one.hu, kept[-1].hu):
            dropped.append(one)
        else:
            raise DuplicateSlicesError(
                f"{source}: {kept[-1].file.name} ({kept[-1].label}) and {one.file.name} ({one.label}) lie at one "
                f"position, {np.round(one.position, 2).tolist()} mm, with different pixels; a volume has one slice at "
                "each position: put each acquisition or phase into its own folder"
            )
    if not dropped:
        return kept, []
    names = ", ".join(one.file.name for one in dropped[:5]) + (" ..." if len(dropped) > 5 else "")
    return kept, [f"{len(dropped)} duplicate slice(s) with identical pixels left out: {names}"]


def _slice_spacing(slices: list[Slice], along: np.ndarray, source: Path) -> float:
    """Give the distance between slices, refusing gaps and uneven steps; `along` is sorted, in mm."""
    steps = np.diff(along)
    step = float(steps[steps < 1.5 * steps.min()].mean())
    counts = np.rint(steps / step)
    allowed = max(PLACE_FRACTION * step, PLACE_ROUNDING)
    # Every slice near a whole number of steps from its neighbour: where that is more than one, slices are missing.
    if counts.max() > 1 and (np.abs(steps - counts * step) <= allowed * counts).all():
        follow_on = _numbered_on(slices, counts > 1)
        if not (follow_on and _changes_for_good(counts)):
            raise _missing(slices, counts, step, follow_on, source)
    regular = np.linspace(along[0], along[-1], len(along))
    worst = int(np.abs(along - regular).argmax())
    spacing = float((along[-1] - along[0]) / (len(along) - 1))
    if abs(along[worst] - regular[worst]) > max(PLACE_FRACTION * spacing, PLACE_ROUNDING):
        raise UnevenSpacingError(
            f"{source}: the distance between slices varies from {steps.min():g} to {steps.max():g} mm "
            f"({slices[worst].label} lies {along[worst] - regular[worst]:+.2f} mm off an even {spacing:g} mm); "
            "a volume needs even spacing: reconstruct or export the series evenly"
        )
    return spacing


def _numbered_on(slices: list[Slice], wide: np.ndarray) -> bool:
    """Tell whether the file's own numbers go on by one across all wide steps."""
    numbers = [(a.number, b.number) for (a, b), far in zip(pairwise(slices), wide, strict=True) if far]
    return all(a is not None and b is not None and abs(a - b) == 1 for a, b in numbers)


def _changes_for_good(counts: np.ndarray) -> bool:
    """Tell a distance that changes from one stretch to the next from gaps in an even series."""
    return len({int(a) for a, b in pairwise(counts) if a == b}) > 1


def _missing(slices: list[Slice], counts: np.ndarray, step: float, follow_on: bool, source: Path) -> MissingSlicesError:
    """Name the gaps between slices."""
    gaps = [
        f"{int(count) - 1} between {a.label} and {b.label} "
        f"({np.round(a.position, 1).tolist()} to {np.round(b.position, 1).tolist()} mm)"
        for (a, b), count in zip(pairwise(slices), counts, strict=True)
        if count > 1
    ]
    more = f"; and {len(gaps) - 5} more gaps" if len(gaps) > 5 else ""
    though = " (though their numbers follow on: or the series was reconstructed unevenly)" if follow_on else ""
    return MissingSlicesError(
        f"{source}: slices {step:g} mm apart, but some are missing{though}: {'; '.join(gaps[:5])}{more}; "
        "copy the missing files, or put each part into its own folder"
    )


def _sideways(positions: np.ndarray, normal: np.ndarray, source: Path) -> list[str]:
    """Tell of a gantry tilt; refuse slices that jump sideways."""
    regular = np.linspace(positions[0], positions[-1], len(positions))
    off = positions - regular
    jump = np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max()
    if jump > SIDEWAYS_TOLERANCE:
        raise MixedSlicesError(
            f"{source}: slices are shifted sideways against each other by up to {jump:.1f} mm; a volume needs slices "
            "on a straight line: put each part into its own folder"
        )
    shift = positions[-1] - positions[0]
    return tilt_said(float(np.degrees(np.arctan2(np.linalg.norm(np.cross(shift, normal)), shift @ normal))))


def tilt_said(tilt: float) -> list[str]:
    """Tell of slices that are stacked aslant, `tilt` degrees off their normal."""
    if tilt <= TILT_TOLERANCE:
        return []
    return [
        f"gantry tilt of {tilt:.1f} degrees: slices are kept as they are and stacked along their normal, so measures "
        "within a slice are exact and positions across slices are sheared"
    ]


def _slice_numbers(slices: list[Slice]) -> tuple[np.ndarray, list[str]]:
    """Give the file's own numbers, or the index where they are absent or repeat."""
    numbers = [one.number for one in slices if one.number is not None]
    if len(set(numbers)) == len(slices):
        return np.array(numbers, dtype=np.int64), []
    return np.arange(len(slices)), ["instance numbers are absent or repeat: slices are numbered in order from 0"]


def to_lps(stack: Stack) -> Stack:
    """Turn the axes so that x grows to the left, y to the back and z to the head, by permutation and flips only.

    Each grid axis goes to the patient axis it is nearest to; what is oblique stays in ``direction``.
    """
    cosines = stack.direction
    order, array_order = orders(cosines)
    hu = stack.hu.transpose(array_order)
    spacing = np.array(stack.spacing)[array_order]
    direction = cosines[:, order].copy()
    origin = np.array(stack.origin, dtype=np.float64)
    numbers, corrections = stack.slice_numbers, list(stack.corrections)
    if order[2] != 2:
        numbers = np.arange(hu.shape[0])
        plane = "sagittal" if order[0] == 2 else "coronal"
        corrections.append(f"{plane} slices turned to axial ones, numbered in order from 0")
    for world in range(3):
        if direction[world, world] < 0:
            axis = 2 - world
            origin = origin + direction[:, world] * spacing[axis] * (hu.shape[axis] - 1)
            direction[:, world] = -direction[:, world]
            hu = np.flip(hu, axis)
            if axis == 0 and order[2] == 2:
                numbers = numbers[::-1]
    oblique = float(np.degrees(np.arccos(np.clip(np.diag(direction), -1, 1))).max())
    if oblique > OBLIQUE_TOLERANCE:
        corrections.append(f"the axes lie {oblique:.1f} degrees off the patient's: slices are shown as they were taken")
    return Stack(
        hu=np.ascontiguousarray(hu),
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin=origin,
        direction=direction + 0.0,  # no -0.0
        slice_numbers=numbers.copy(),
        corrections=tuple(corrections),
    )


def check_spacing(spacing: tuple[float, ...], source: Path) -> None:
    """Refuse spacings that no CT has.

    Raises
    ------
    GeometryError
        If one is NaN, not positive, or outside 0.01 to 50 mm.
    """
    if not all(SMALLEST_SPACING <= value <= LARGEST_SPACING for value in spacing):
        raise GeometryError(
            f"{source}: voxel spacing {tuple(float(f'{value:g}') for value in spacing)} mm (z, y, x) found; a CT has "
            f"{SMALLEST_SPACING:g} to {LARGEST_SPACING:g} mm: correct the header or export the scan again"
        )


def to_volume(
    stack: Stack,
    *,
    source: Path,
    name: str,
    series_uid: str = "",
    thickness: float | None = None,
    window: tuple[float, float] | None = None,
) -> CTVolume:
    """Check the grid, turn it to left, back and head, and make it a `CTVolume`.

    Raises
    ------
    GeometryError
        If the spacing or the origin is absurd.
    """
    check_spacing(stack.spacing, source)
    if not np.isfinite(stack.origin).all():
        raise GeometryError(f"{source}: position {stack.origin.tolist()} found, finite millimetres required")
    if thickness and stack.hu.shape[0] > 1 and stack.spacing[0] > GAP_FACTOR * thickness:
        said = f"slices {thickness:g} mm thick lie {stack.spacing[0]:g} mm apart: what lies between was not scanned"
        stack = replace(stack, corrections=(*stack.corrections, said))
    stack = to_lps(stack)
    x, y, z = (float(value) for value in stack.origin)
    dz, dy, dx = stack.spacing  # rounded below: differences and 32-bit headers leave noise in the last digits
    return CTVolume(
        hu=stack.hu,
        spacing=(round(dz, 6), round(dy, 6), round(dx, 6)),
        source=source,
        name=name,
        slice_numbers=stack.slice_numbers,
        origin=(x, y, z),
        direction=stack.direction,
        series_uid=series_uid,
        thickness=thickness,
        window=window,
        corrections=stack.corrections,
    )
