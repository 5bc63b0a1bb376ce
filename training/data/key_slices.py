"""Key slices to train and to evaluate on: which there are, and their slabs."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from napari_uld.ct.deeplesion import read_slices, series_id, slices_on_disk
from napari_uld.ct.dl_info import DlInfo, DlInfoRow, read_dl_info
from napari_uld.ct.windows import Window
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.errors import DataError
from napari_uld.inference.slabs import Slab, extract_slab, slab_offsets
from napari_uld.lesions.annotation_file import has_annotations, read_annotations
from napari_uld.lesions.annotations import Annotation, LesionType, Source
from napari_uld.lesions.beside import own_paths
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.recist import Recist, from_mask
from napari_uld.lesions.rle import Rle, decode

from .left_out import LeftOut, image_size
from .phantom.truth import read_spacing, read_truth, truth_series

Split = Literal["train", "val", "test", "all"]
Spacing = tuple[float, float, float]
SPLITS = {"train": 1, "val": 2, "test": 3}
# The window of a phantom series that no row of the table is about.
SOFT_TISSUE = (-175.0, 275.0)


@dataclass(frozen=True, eq=False)
class KeySlice:
    """One image of a data set.

    Parameters
    ----------
    series
        "000001_01_01".
    number
        Native number of the slice.
    spacing
        Millimetres between voxel centres along (z, y, x).
    boxes
        (n, 4) native pixel-centre boxes of its lesions.
    recists
        Their measurements, None where nobody measured.
    window
        (low, high) HU that it was read with.
    corrected
        Masks in native pixels that a person corrected, by index of their lesion.
    types
        DeepLesion's coarse types of its lesions; () where none is known.
    size
        Width and height of the image, None where nobody looked.
    sources
        Where the markings of its lesions come from; () where nobody marked them.
    position
        Where along the body it lies, from 0 towards the head to 1; None where unknown.
    """

    series: str
    number: int
    spacing: Spacing
    boxes: np.ndarray
    recists: tuple[Recist | None, ...]
    window: Window
    corrected: Mapping[int, Rle] = field(default_factory=dict)
    types: tuple[LesionType, ...] = ()
    size: tuple[int, int] | None = None
    sources: tuple[Source, ...] = ()
    position: float | None = None

    @property
    def diameters(self) -> np.ndarray:
        """(n,) long diameters in mm, NaN where nobody measured."""
        pixels = [recist.diameters[0] if recist else np.nan for recist in self.recists]
        return np.asarray(pixels, dtype=np.float64) * self.spacing[2]

    @property
    def patient(self) -> str:
        """The patient, by which data are split and resampled."""
        return self.series.split("_")[0]


class SplitSlices(NamedTuple):
    """The key slices of a split, and a line about the rows of its table that are left out ("" where none is)."""

    slices: list[KeySlice]
    note: str


def annotated_slices(root: Path, split: Split) -> list[KeySlice]:
    """Give the key slices of `read_split`.

    Raises
    ------
    DataError
        As `read_split` does.
    """
    return read_split(root, split).slices


def read_split(root: Path, split: Split, sources: Collection[Source] | None = None) -> SplitSlices:
    """Key slices of ``DL_info.csv`` whose images are on disk, without possibly noisy or rejected rows.

    Parameters
    ----------
    sources
        Where lesions shall come from. Then a series that has an annotation file beside it is taken as that says, and
        not as the table does; its lesions may lie on slices that the table does not list. None for all rows of the
        table, whatever their source, and for them alone.

    Raises
    ------
    DataError
        If none is there, or a corrected mask is not of its image's size.
    AnnotationFileError
        If an annotation file that was asked for cannot be read.
    """
    info = _table(root, split)
    slices, left_out = [], LeftOut(info.path, split, sources)
    for series, rows in sorted(info.by_series.items()):
        if split == "all" or rows[0].split == SPLITS[split]:
            slices += _of_series(root, info, series, left_out)
    if not slices:
        why = left_out.note or f"{info.path} lists none: its column Train_Val_Test says which row is of which"
        raise DataError(f"{root} holds no key slice of the split {split!r} to use. {why}")
    return SplitSlices(slices, left_out.note)


def _of_series(root: Path, info: DlInfo, series: str, left_out: LeftOut) -> list[KeySlice]:
    folder, rows = root / "Images_png" / series, info.by_series[series]
    on_disk = set(slices_on_disk(root, series)) if folder.is_dir() else set()
    saved = None if left_out.sources is None else _saved(folder)
    listed = _listed(info, series) if saved is None else saved
    numbers = {lesion.key_slice for _, lesion in listed}
    sizes = {number: image_size(folder / f"{number:03d}.png") for number in numbers & on_disk}
    lesions: dict[int, list[Annotation]] = {}
    for line, lesion in listed:
        number = lesion.key_slice
        box = left_out.takes(line, lesion, number in on_disk, sizes.get(number))
        if box is not None:
            lesions.setdefault(number, []).append(lesion if box == lesion.box else replace(lesion, box=box))
    return [
        KeySlice(
            series,
            number,
            rows[0].spacing,
            np.asarray([lesion.box for lesion in on_slice]),
            tuple(lesion.recist for lesion in on_slice),
            # A lesion of its own slice is read as the nearest listed one.
            min(rows, key=lambda row: abs(row.key_slice - number)).window,
            _corrected(root, series, number, on_slice),
            tuple(lesion.lesion_type for lesion in on_slice),
            sizes[number],
            tuple(lesion.source for lesion in on_slice),
            _position(rows, number),
        )
        for number, on_slice in sorted(lesions.items())
    ]


def _position(rows: Sequence[DlInfoRow], number: int) -> float | None:
    """Where along the body a slice lies by its rows; DeepLesion's are of the slice, those of new lesions blank."""
    along = [row.numbers["Normalized_lesion_location"][2] for row in rows if row.key_slice == number]
    return next((z for z in along if not math.isnan(z)), None)


def _listed(info: DlInfo, series: str) -> list[tuple[str, Annotation]]:
    """The lesions of a series in the table, each with its line."""
    rows, lesions = info.by_series[series], annotations_from_dl_info(info, series, series)
    return [(f"line {row.line_number}", lesion) for row, lesion in zip(rows, lesions, strict=True)]


def _saved(folder: Path) -> list[tuple[str, Annotation]] | None:
    """The lesions of a series in the annotation file beside it, each with its place there; None where there is none."""
    scan_id = series_id(folder)
    for path in own_paths(folder, scan_id):
        if has_annotations(path) and (saved := read_annotations(path).annotations).scan_id == scan_id:
            return [(f"{path.name}, lesion {place}", lesion) for place, lesion in enumerate(saved, 1)]
    return None


def _corrected(root: Path, series: str, number: int, lesions: Sequence[Annotation]) -> dict[int, Rle]:
    masks = {index: mask for index, lesion in enumerate(lesions) if (mask := lesion.corrected_mask) is not None}
    if masks:
        height, width = read_slices(root, series, [number]).hu.shape[1:]
        for index, mask in masks.items():
            if mask.shape != (height, width):
                raise DataError(
                    f"{root / 'DL_info.csv'}, {series}_{number:03d}.png: found a Corrected_mask of {mask.shape[1]} x "
                    f"{mask.shape[0]} pixels for the lesion at {list(lesions[index].box)}, required the image's "
                    f"{width} x {height}: correct the mask again, or leave the field blank"
                )
    return masks


def true_slices(root: Path, split: Split) -> list[KeySlice]:
    """Key slices of all lesions of phantoms, listed or not, with every lesion that a slice cuts.

    Raises
    ------
    DataError
        If `root` holds no phantoms.
    """
    info = _table(root, split)
    slices = []
    for series in split_series(root, split):
        rows = info.by_series.get(series, ())
        spacing = read_spacing(root, series)
        window = rows[0].window if rows else SOFT_TISSUE
        lesions = read_truth(root, series)
        for number in sorted({lesion.key_slice for lesion in lesions}):
            cut = [lesion for lesion in lesions if number in lesion.boxes]
            recists = tuple(from_mask(decode(lesion.masks[number])) for lesion in cut)
            boxes = np.asarray([lesion.boxes[number] for lesion in cut])
            size = image_size(root / "Images_png" / series / f"{number:03d}.png")
            types = tuple(lesion.lesion_type for lesion in cut)
            slices.append(KeySlice(series, number, spacing, boxes, recists, window, types=types, size=size))
    if not slices:
        raise DataError(f"{root} holds no phantom of the split {split!r} with a lesion")
    return slices


def split_series(root: Path, split: Split) -> list[str]:
    """Names of the phantoms of a split.

    Raises
    ------
    DataError
        If `root` holds none.
    """
    listed = _table(root, split).by_series
    names = [
        series
        for series in truth_series(root)
        if split == "all" or (series in listed and listed[series][0].split == SPLITS[split])
    ]
    if not names:
        raise no_phantom(root, split)
    return names


def no_phantom(root: Path, split: Split) -> DataError:
    """Make the error that a data set has no phantom of a split; it says which it has."""
    splits, phantoms = split_of(root), truth_series(root)
    there = [name for name, number in SPLITS.items() if number in {splits.get(series) for series in phantoms}]
    choose = f": choose {', '.join((*there, 'all'))} with --split" if there else ""
    return DataError(f"{root} holds no phantom of the split {split!r}{choose}")


def split_of(root: Path) -> dict[str, int]:
    """The split's number of every series that DL_info.csv lists.

    Raises
    ------
    DataError
        If there is none.
    """
    return {series: rows[0].split for series, rows in _table(root, "all").by_series.items()}


def _table(root: Path, split: Split) -> DlInfo:
    if split not in get_args(Split):
        raise DataError(f"There is no split {split!r}: choose one of {', '.join(get_args(Split))} with --split")
    if not (root / "DL_info.csv").is_file():
        raise DataError(f"{root} holds no DL_info.csv: give a folder in DeepLesion's layout")
    return read_dl_info(root / "DL_info.csv")


def read_slab(root: Path, key: KeySlice, inputs: InputSpec) -> Slab:
    """Read only the slices that a key slice's slab needs.

    Raises
    ------
    ScanError
        If the key slice is unreadable.
    """
    reach = int(np.ceil(slab_offsets(key.spacing[0], inputs).max()))
    on_disk = set(slices_on_disk(root, key.series))
    low = high = key.number
    while low - 1 in on_disk and key.number - low < reach:
        low -= 1
    while high + 1 in on_disk and high - key.number < reach:
        high += 1
    volume = read_slices(root, key.series, range(low, high + 1))
    return extract_slab(volume.hu, key.spacing, volume.z_of(key.number), inputs)
