"""Key slices to train and to evaluate on: which there are, and their slabs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.dl_info import DlInfo, read_dl_info
from napari_uld.detectors.spec import InputSpec, SupervisionSpec
from napari_uld.errors import DataError
from napari_uld.inference.slabs import Slab, extract_slab, normalize
from napari_uld.lesions.annotations import Annotation, State
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.recist import from_mask
from napari_uld.lesions.rle import decode

from .phantom.truth import read_spacing, read_truth, truth_series
from .targets import make_target

Split = Literal["train", "val", "test", "all"]
Spacing = tuple[float, float, float]
SPLITS = {"train": 1, "val": 2, "test": 3}
# Prepared slabs are kept in memory up to this size: small runs then read each PNG once.
CACHE_BYTES = 3 * 2**30


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
    diameters
        (n,) long diameters in mm.
    """

    series: str
    number: int
    spacing: Spacing
    boxes: np.ndarray
    diameters: np.ndarray

    @property
    def patient(self) -> str:
        """The patient, by which data are split and resampled."""
        return self.series.split("_")[0]


def annotated_slices(root: Path, split: Split) -> list[KeySlice]:
    """Key slices of ``DL_info.csv`` whose images are on disk, without possibly noisy or rejected rows.

    Raises
    ------
    DataError
        If none is there.
    """
    info = _table(root, split)
    found = []
    for series, rows in sorted(info.by_series.items()):
        if split != "all" and rows[0].split != SPLITS[split]:
            continue
        there = set(slices_on_disk(root, series)) if (root / "Images_png" / series).is_dir() else set()
        lesions = [
            lesion
            for lesion in annotations_from_dl_info(info, series, series)
            if lesion.key_slice in there and not lesion.noisy and lesion.state is State.ACCEPTED
        ]
        for number in sorted({lesion.key_slice for lesion in lesions}):
            found.append(_key_slice(series, number, rows[0].spacing, [x for x in lesions if x.key_slice == number]))
    if not found:
        raise DataError(f"{root} holds no key slice of the split {split!r} with its image on disk")
    return found


def true_slices(root: Path, split: Split) -> list[KeySlice]:
    """Key slices of all lesions of phantoms, listed or not, with every lesion that a slice cuts.

    Raises
    ------
    DataError
        If `root` holds no phantoms.
    """
    info = _table(root, split)
    found = []
    for series in truth_series(root):
        rows = info.by_series.get(series, ())
        if split != "all" and (not rows or rows[0].split != SPLITS[split]):
            continue
        spacing = read_spacing(root, series)
        lesions = read_truth(root, series)
        for number in sorted({lesion.key_slice for lesion in lesions}):
            cut = [lesion for lesion in lesions if number in lesion.boxes]
            diameters = [from_mask(decode(lesion.masks[number])).diameters[0] * spacing[2] for lesion in cut]
            boxes = np.asarray([lesion.boxes[number] for lesion in cut])
            found.append(KeySlice(series, number, spacing, boxes, np.asarray(diameters)))
    if not found:
        raise DataError(f"{root} holds no phantom of the split {split!r}")
    return found


def _table(root: Path, split: Split) -> DlInfo:
    if split not in get_args(Split):
        raise DataError(f"There is no split {split!r}: choose one of {', '.join(get_args(Split))}")
    if not (root / "DL_info.csv").is_file():
        raise DataError(f"{root} holds no DL_info.csv: give a folder in DeepLesion's layout")
    return read_dl_info(root / "DL_info.csv")


def _key_slice(series: str, number: int, spacing: Spacing, lesions: list[Annotation]) -> KeySlice:
    diameters = [lesion.recist.diameters[0] * spacing[2] if lesion.recist else np.nan for lesion in lesions]
    return KeySlice(series, number, spacing, np.asarray([lesion.box for lesion in lesions]), np.asarray(diameters))


class SlabDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Slabs with their targets, ready for a detector.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    slices
        The images.
    inputs, supervision
        What the network sees, and what its targets carry beside boxes.
    flips
        Probabilities (horizontal, vertical) of flipping an image.
    seed
        Flips of epoch e are drawn from (seed, e, index): the same whatever the number of loaders.
    """

    def __init__(
        self,
        root: Path,
        slices: list[KeySlice],
        inputs: InputSpec,
        supervision: SupervisionSpec | None = None,
        *,
        flips: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        self.root = root
        self.slices = slices
        self.inputs = inputs
        self.supervision = supervision or SupervisionSpec()
        self.flips = flips
        self.seed = seed
        self.epoch = 0
        self._cache: dict[int, Slab] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.slices)

    def slab(self, index: int) -> Slab:
        """The slab of one image, from memory where it was made before."""
        if index in self._cache:
            return self._cache[index]
        slab = read_slab(self.root, self.slices[index], self.inputs)
        # A loader's own process lives for one epoch: nothing it kept would be asked for again.
        if torch.utils.data.get_worker_info() is None and self._cached_bytes + slab.hu.nbytes <= CACHE_BYTES:
            self._cache[index] = slab
            self._cached_bytes += slab.hu.nbytes
        return slab

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        slab = self.slab(index)
        image = normalize(slab.hu, self.inputs)
        boxes = inside(slab.to_network(self.slices[index].boxes), image.shape[1:])
        rng = np.random.default_rng([self.seed, self.epoch, index])
        horizontal, vertical = rng.random(2) < self.flips
        height, width = image.shape[1:]
        if horizontal:
            image, boxes = (
                image[:, :, ::-1],
                np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1),
            )
        if vertical:
            image, boxes = (
                image[:, ::-1],
                np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1),
            )
        target = make_target(boxes, (height, width), self.inputs, self.supervision)
        return torch.from_numpy(np.ascontiguousarray(image)), target


def inside(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cut edge-based boxes (n, 4) off at the image's border; those outside it go."""
    height, width = shape
    cut = np.clip(boxes, 0, [width, height, width, height])
    return cut[(cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])]


def read_slab(root: Path, key: KeySlice, inputs: InputSpec) -> Slab:
    """Read only the slices that a key slice's slab needs.

    Raises
    ------
    ScanError
        If the key slice is unreadable.
    """
    reach = int(np.ceil(inputs.slices // 2 * inputs.interval_mm / key.spacing[0]))
    there = set(slices_on_disk(root, key.series))
    low = high = key.number
    while low - 1 in there and key.number - low < reach:
        low -= 1
    while high + 1 in there and high - key.number < reach:
        high += 1
    volume = read_slices(root, key.series, range(low, high + 1))
    return extract_slab(volume.hu, key.spacing, volume.z_of(key.number), inputs)
