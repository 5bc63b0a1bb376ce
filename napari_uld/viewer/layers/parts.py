"""The layers of an open scan: which there are, which case a layer belongs to, where it lies."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer

from napari_uld.viewer.state.case import Case

# Keys of a layer's metadata: the case it belongs to, and which of the case's layers it is.
METADATA = "napari_uld"
PART = "part"
AXES = ("z", "y", "x")
UNITS = ("mm",) * 3

LayerTuple = tuple[Any, dict[str, Any], str]


class Part(StrEnum):
    """The layers that a case always has, from the bottom up; the values are their names."""

    CT = "CT"
    MASK = "Mask"
    BODIES = "Bodies"
    MARKS = "Marks"
    LABELS = "Mark labels"
    HAND = "Lesion in hand"


# What people and detectors marked, over the scan and its masks.
OVERLAYS = (Part.BODIES, Part.MARKS, Part.LABELS, Part.HAND)


def metadata(case: Case, part: StrEnum | None = None) -> dict[str, Any]:
    """Say which case a layer belongs to, and which of its layers it is, where it is one to be found again."""
    return {METADATA: case} if part is None else {METADATA: case, PART: part}


def case_of(layer: Layer) -> Case | None:
    """Give the case that a layer belongs to, or None."""
    return layer.metadata.get(METADATA)


def part_of(layer: Layer) -> Part | None:
    """Which of the layers that a case always has this is, or None where it is none of them."""
    part = layer.metadata.get(PART) if METADATA in layer.metadata else None
    return part if isinstance(part, Part) else None


def find_layer(viewer: ViewerModel, case: Case, part: StrEnum) -> Layer | None:
    """Give a layer of a case, or None where there is none."""
    return next((layer for layer in viewer.layers if _is(layer, case, (part,))), None)


def disown(layer: Layer) -> None:
    """Make a layer that napari copied from one of a case's (a duplicate, a projection) one like any other."""
    layer.metadata = {key: value for key, value in layer.metadata.items() if key not in (METADATA, PART)}


def is_copy(viewer: ViewerModel, layer: Layer) -> bool:
    """Whether a case has another layer already that is what this one says it is; of what is none, there are several."""
    case, part = case_of(layer), layer.metadata.get(PART)
    return (
        case is not None
        and part is not None
        and any(other is not layer and _is(other, case, (part,)) for other in viewer.layers)
    )


def insert_layer(viewer: ViewerModel, case: Case, layer: Layer, *, under: Collection[StrEnum] = OVERLAYS) -> None:
    """Add a layer to an open case directly under the lowest of these parts; nothing else is taken in hand."""
    above = (i for i, other in enumerate(viewer.layers) if _is(other, case, under))
    with selection_kept(viewer):
        viewer.layers.insert(next(above, len(viewer.layers)), layer)


@contextmanager
def selection_kept(viewer: ViewerModel) -> Iterator[None]:
    """Leave what is selected as it is: napari takes in hand what was added last."""
    chosen, active = set(viewer.layers.selection), viewer.layers.selection.active
    yield
    viewer.layers.selection = chosen & set(viewer.layers)
    viewer.layers.selection.active = active if active in viewer.layers else None


def geometry(case: Case) -> dict[str, Any]:
    """Where the scan lies and what its axes are: every layer of a case says so."""
    x, y, z = case.volume.origin
    return {"scale": case.volume.spacing, "translate": (z, y, x), "units": UNITS, "axis_labels": AXES}


def on_slice(case: Case, z: int) -> dict[str, Any]:
    """Where a layer of slice `z` alone lies, one voxel deep."""
    place = geometry(case)
    (dz, _, _), (bottom, y, x) = place["scale"], place["translate"]
    return {**place, "translate": (bottom + z * dz, y, x)}


def _is(layer: Layer, case: Case, parts: Collection[StrEnum]) -> bool:
    return case_of(layer) is case and layer.metadata.get(PART) in parts
