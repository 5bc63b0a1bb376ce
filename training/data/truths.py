"""What detections are scored against: the key slices, or the volumes, of a data set or of an annotation file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import DataError
from napari_uld.evaluation.protocols import Protocol
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.box_table import BoxTable, Extent, Margin, ScanBoxes, ScanName
from napari_uld.lesions.findings import Box
from napari_uld.lesions.harvester import read_box_pickle
from napari_uld.lesions.recist import from_mask
from napari_uld.lesions.rle import decode

from .coco import read_coco
from .coco_tables import UNKNOWN, slices_of
from .key_slices import (
    SOFT_TISSUE,
    KeySlice,
    Split,
    SplitSlices,
    read_split,
    true_slices,
)
from .lesion_free import lesion_free_slices
from .phantom.truth import FOLDER as TRUTH_FOLDER
from .phantom.truth import TrueLesion, read_spacing, read_truth
from .studies import split_studies
from .tight_slices import tight_slices
from .volume_dataset import longest_diameter, masks_of, tight_box


@dataclass(frozen=True, eq=False)
class TrueScan:
    """A volume, or a part of one, all of whose lesions are known.

    Parameters
    ----------
    name
        As a `ScanName` is written.
    lesions
        Their boxes.
    """

    name: str
    lesions: ScanBoxes

    @property
    def patient(self) -> str:
        """The patient, by which data are resampled."""
        return ScanName.of(self.name).patient

    @property
    def diameters(self) -> np.ndarray:
        """(n,) long diameters in mm, NaN where nobody measured."""
        return self.lesions.diameters

    @property
    def types(self) -> tuple[LesionType, ...]:
        """Coarse types, () where none is known."""
        return self.lesions.types

    def read(self, root: Path) -> CTVolume:
        """Read its slices from a folder in DeepLesion's layout.

        Raises
        ------
        DataError
            If the folder does not hold all of them.
        """
        part = ScanName.of(self.name)
        on_disk = slices_on_disk(root, part.series) if (root / "Images_png" / part.series).is_dir() else []
        if part.first is None or part.last is None:
            return read_slices(root, part.series, on_disk)
        wanted = range(part.first, part.last + 1)
        if missing := sorted(set(wanted) - set(on_disk)):
            raise DataError(
                f"{root} holds {len(wanted) - len(missing)} of the {len(wanted)} slices of {self.name}: "
                f"{part.series}/{missing[0]:03d}.png is missing; give a folder with all of them with --images"
            )
        return read_slices(root, part.series, wanted)


@dataclass(frozen=True, eq=False)
class TrueScans:
    """The volumes of a data set.

    Parameters
    ----------
    source
        What a person calls it.
    scans
        All of them, also those without a lesion.
    margin
        How closely the boxes lie about the lesions.
    note
        A line about what was left out, "" for nothing.
    """

    source: str
    scans: Sequence[TrueScan]
    margin: Margin | None
    note: str = ""


def true_images(
    data: Path, split: Split, *, annotated: bool, lesion_free: bool, tight: bool = False
) -> tuple[SplitSlices, Margin | None]:
    """The images to score on, and how closely their boxes lie about the lesions.

    Parameters
    ----------
    data
        A folder in DeepLesion's layout, a COCO file of true boxes, or a pickle of lesions on one slice each.
    annotated
        Of phantoms, take the lesions that the table lists instead of the whole truth.
    lesion_free
        Take those slices of a folder's scans too that no lesion reaches (see `lesion_free_slices`).
    tight
        Of phantoms' whole truth, take boxes that are tight about the lesions' voxels.

    Raises
    ------
    UldError
        If the data cannot be read, hold nothing to score on, or do not say which slices hold no lesion.
    """
    is_folder = data.suffix not in (".json", ".pkl")
    if lesion_free and not is_folder:
        raise DataError(f"{data} does not say which slices hold no lesion: give a folder in DeepLesion's layout")
    if is_folder:
        whole_truth = not annotated and (data / TRUTH_FOLDER).is_dir()
        read = tight_slices if tight else true_slices
        slices, note = SplitSlices(read(data, split), "") if whole_truth else read_split(data, split)
        slices = slices + (lesion_free_slices(data, split) if lesion_free else [])
        return SplitSlices(slices, note), Margin.TIGHT if tight and whole_truth else Margin.PADDED
    if data.suffix == ".json":
        return SplitSlices(slices_of(data, read_coco(data)), ""), None
    table = read_box_pickle(data, split)
    if table.extent is not Extent.ONE_SLICE:
        raise DataError(f"{data} holds bodies and no lesions on key slices: score volumes, with --protocol 3d or lens")
    return SplitSlices(_slices_of(table), ""), table.margin


def _slices_of(table: BoxTable) -> list[KeySlice]:
    on_slices: dict[tuple[str, int], list[Box]] = {}
    for name, boxes in table.scans.items():
        for row in boxes.slice_boxes:
            for number, box in row.items():
                on_slices.setdefault((ScanName.of(name).series, number), []).append(box)
    return [
        KeySlice(series, number, UNKNOWN, np.asarray(boxes), (None,) * len(boxes), SOFT_TISSUE)
        for (series, number), boxes in sorted(on_slices.items())
    ]


def true_scans(data: Path, split: Split, protocol: Protocol, margin: Margin | None) -> TrueScans:
    """The volumes to score on; of phantoms the first series of every study, whatever phases there are.

    Parameters
    ----------
    data
        A folder of phantoms, or a pickle of fully annotated sub-volumes.
    margin
        Phantoms, whose lesions are known voxel by voxel, are scored on with boxes of this kind, or padded ones.

    Raises
    ------
    UldError
        If the data cannot be read, or do not hold what the protocol asks for.
    """
    on_key_slices = protocol.name == "p3d"
    if data.suffix == ".pkl":
        table = read_box_pickle(data, split)
        if on_key_slices and table.extent is not Extent.ONE_SLICE:
            raise DataError(f"{data} holds bodies, which have no key slice: score with --protocol 3d or lens")
        if not on_key_slices and table.extent is not Extent.BODIES:
            raise DataError(f"{data} holds lesions on one slice each, no bodies: score with --protocol p3d or image")
        return TrueScans(data.name, [TrueScan(*each) for each in table.scans.items()], table.margin)
    if not (data / TRUTH_FOLDER).is_dir():
        raise DataError(
            f"{data} does not hold every lesion of a volume: --protocol {protocol.name} needs phantoms with their "
            f"folder {TRUTH_FOLDER}, or a pickle of fully annotated sub-volumes"
        )
    margin = margin or Margin.PADDED
    scans = [
        _true_scan(data, study[0], on_key_slices=on_key_slices, margin=margin) for study in split_studies(data, split)
    ]
    return TrueScans(data.name, scans, margin)


def _true_scan(root: Path, series: str, *, on_key_slices: bool, margin: Margin) -> TrueScan:
    lesions = read_truth(root, series)
    pixel = read_spacing(root, series)[2]
    measure = _key_diameter if on_key_slices else _body_diameter
    long = [measure(lesion) * pixel for lesion in lesions]
    types = tuple(lesion.lesion_type for lesion in lesions)
    boxes = [_box(lesion, on_key_slices=on_key_slices, margin=margin) for lesion in lesions]
    if on_key_slices:
        rows = [{lesion.key_slice: (b[0], b[1], b[3], b[4])} for lesion, b in zip(lesions, boxes, strict=True)]
        return TrueScan(series, ScanBoxes.traced(rows, None, long, types))
    return TrueScan(series, ScanBoxes.bodies(boxes, None, long, types))


def _key_diameter(lesion: TrueLesion) -> float:
    """Long diameter on the key slice in pixels, NaN where its mask has none."""
    recist = from_mask(decode(lesion.masks[lesion.key_slice]))
    return recist.diameters[0] if recist else np.nan


def _body_diameter(lesion: TrueLesion) -> float:
    """Longest diameter in pixels on any slice."""
    return longest_diameter(masks_of(lesion))


def _box(lesion: TrueLesion, *, on_key_slices: bool, margin: Margin) -> tuple[float, ...]:
    """(x1, y1, z1, x2, y2, z2) of a lesion or of its key slice, z1 and z2 its first and last slice."""
    key = lesion.key_slice
    if margin is Margin.PADDED:
        if not on_key_slices:
            return lesion.box
        x1, y1, x2, y2 = lesion.boxes[key]
        return (x1, y1, key, x2, y2, key)
    masks = {key: lesion.masks[key]} if on_key_slices else lesion.masks
    x1, y1, z1, x2, y2, z2 = tight_box({number: decode(mask) for number, mask in masks.items()})
    return (x1, y1, z1 + 0.5, x2, y2, z2 - 0.5)
