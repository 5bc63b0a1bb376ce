"""Crops of whole phantom scans as a volumetric network's input and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_uld.ct.deeplesion import slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.detectors.targets import cut_off
from napari_uld.inference.volumes import Crop, seen
from napari_uld.lesions.box_table import from_findings
from napari_uld.lesions.findings_file import SUFFIX, read_findings
from napari_uld.lesions.recist import from_mask
from napari_uld.lesions.rle import decode

from .augment import Augmentation, draw
from .key_slices import Split
from .known_scan import KnownScan
from .phantom.truth import TrueLesion, read_spacing, read_truth
from .studies import phase_series, read_with_phases, split_studies
from .volume_crops import Placement
from .volume_store import VolumeStore


@dataclass(frozen=True, eq=False)
class TrueVolume(KnownScan):
    """A phantom scan, and the tight boxes of all of its lesions.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    series
        "000001_01_01".
    boxes
        (n, 6) native pixel-centre boxes about the voxels of each lesion, z an index of the scan's slices: half a voxel
        beyond the outermost centres.
    phases
        The series that are a network's channels, () for this one by itself.
    """

    phases: tuple[str, ...] = ()

    def read(self) -> CTVolume:
        """Read the scan, with its phases where there are any."""
        return read_with_phases(super().read(), self.root, self.phases)

    @cached_property
    def diameters(self) -> np.ndarray:
        """(n,) longest diameters in a slice, mm."""
        pixel = read_spacing(self.root, self.series)[2]
        lesions = read_truth(self.root, self.series)
        return np.asarray([longest_diameter(masks_of(lesion)) for lesion in lesions], float) * pixel


def true_volumes(root: Path, split: Split, phases: Sequence[str] = ()) -> list[TrueVolume]:
    """All phantom studies of a split, each by its first series; the others are its phases.

    Parameters
    ----------
    phases
        Names of those that a network sees together, see `InputSpec.phases`.

    Raises
    ------
    DataError
        If there is none, or one lacks a phase.
    """
    return [
        TrueVolume(root, study[0], true_bodies(root, study[0]), phase_series(root, study, phases))
        for study in split_studies(root, split)
    ]


def true_bodies(root: Path, series: str) -> np.ndarray:
    """Boxes (n, 6) about the lesions of a phantom scan, as `TrueVolume` has them.

    Raises
    ------
    DataError
        If there is no truth for the series.
    """
    # Native numbers fall towards the head.
    z_of = {number: z for z, number in enumerate(sorted(slices_on_disk(root, series), reverse=True))}
    boxes = [
        tight_box({z_of[number]: decode(mask) for number, mask in lesion.masks.items()})
        for lesion in read_truth(root, series)
    ]
    return np.asarray(boxes, float).reshape(-1, 6)


def negative_bodies(folder: Path, volumes: Sequence[TrueVolume]) -> dict[str, np.ndarray]:
    """Boxes (n, 6) of the negative rows of findings, by series, as `TrueVolume` has the lesions'.

    Parameters
    ----------
    folder
        As `napari-uld mine --negatives` writes it; empty where it is not there.

    Raises
    ------
    AnnotationFileError
        If a file cannot be read.
    """
    found = {}
    for each in volumes:
        path = folder / f"{each.series}{SUFFIX}"
        if not path.is_file():
            continue
        findings = read_findings(path)
        rows = findings.take(np.flatnonzero(findings.negative))
        if len(rows):
            bodies = from_findings(replace(rows, negative=np.zeros(len(rows), bool))).boxes
            # An edge half a slice beyond the first number is one half a slice beyond the last index.
            bodies[:, [2, 5]] = max(slices_on_disk(each.root, each.series)) - bodies[:, [5, 2]]
            found[each.series] = bodies
    return found


def masks_of(lesion: TrueLesion) -> dict[int, np.ndarray]:
    """A lesion's masks (h, w) bool by native number."""
    return {number: decode(mask) for number, mask in lesion.masks.items()}


def longest_diameter(masks: Mapping[int, np.ndarray]) -> float:
    """Longest RECIST diameter of a lesion on any slice, in pixels; `masks` as for `tight_box`."""
    return max(recist.diameters[0] for mask in masks.values() if (recist := from_mask(mask)))


def tight_box(masks: Mapping[int, np.ndarray]) -> list[float]:
    """(x1, y1, z1, x2, y2, z2) about the voxels of a lesion, half a voxel beyond the outermost centres.

    Parameters
    ----------
    masks
        By z: (h, w) bool, the lesion on that slice.
    """
    anywhere = np.any(list(masks.values()), axis=0)
    rows, columns = np.flatnonzero(anywhere.any(axis=1)), np.flatnonzero(anywhere.any(axis=0))
    low = [columns[0], rows[0], min(masks)]
    high = [columns[-1], rows[-1], max(masks)]
    return [*(edge - 0.5 for edge in low), *(edge + 0.5 for edge in high)]


class VolumeDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Crops about lesions and hard negatives with their 3D boxes, ready for a volumetric detector.

    Parameters
    ----------
    volumes
        The scans, all of one folder.
    negatives
        By series (n, 6) boxes of hard negatives, like the lesions'; crops lie about them, too.
    inputs
        What the network sees: crops of (`slices`, `long_side`, `long_side`) voxels.
    training
        How crops are augmented; not at all by default.
    seed
        Where a crop lies in epoch e is drawn from (seed, e, index).

    Attributes
    ----------
    epoch
        The epoch that is drawn for.
    """

    def __init__(
        self,
        volumes: Sequence[TrueVolume],
        inputs: InputSpec,
        *,
        negatives: Mapping[str, np.ndarray] | None = None,
        training: TrainingSpec | None = None,
        seed: int = 0,
    ) -> None:
        self.volumes = volumes
        self.inputs = inputs
        self.training = training or TrainingSpec()
        self.seed = seed
        self.epoch = 0
        self.negatives = negatives or {}
        lesions = [(number, box) for number, each in enumerate(volumes) for box in each.boxes]
        mistakes = [(number, box) for number, each in enumerate(volumes) for box in self.negatives.get(each.series, ())]
        self._middles = lesions + mistakes
        self._store = VolumeStore(volumes[0].root, inputs)

    def __len__(self) -> int:
        return len(self._middles)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        number, middle = self._middles[index]
        scan, whole = self.volumes[number], self.whole(number)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        centre = whole.axes.to_network(middle[None]).reshape(2, 3).mean(axis=0)[::-1]
        drawn, placed = self._draw(centre, rng)
        boxes = self._within(placed, whole, scan.boxes)
        target = {
            "boxes": boxes,
            "labels": torch.ones(len(boxes), dtype=torch.int64),
            "thickness": torch.tensor(whole.thickness, dtype=torch.float32),
        }
        if scan.series in self.negatives:
            target["negatives"] = self._within(placed, whole, self.negatives[scan.series])
        image = drawn.normalize(placed.cut(whole.hu), self.inputs)
        channels = image.reshape(-1, *image.shape[-3:])
        return torch.from_numpy(np.ascontiguousarray(channels)), target

    def whole(self, number: int) -> Crop:
        """A scan at the network's spacing."""

        def make() -> Crop:
            return seen(self.volumes[number].read(), self.inputs)

        each = self.volumes[number]
        return self._store.get(each.phases or (each.series,), make)

    def _draw(self, centre: np.ndarray, rng: np.random.Generator) -> tuple[Augmentation, Placement]:
        """A crop that holds a centre (z, y, x) anywhere but in its outer quarters."""
        size = self.inputs.slices, self.inputs.long_side, self.inputs.long_side
        first = np.floor(centre - np.array(size) * rng.uniform(0.25, 0.75, 3)).astype(int)
        drawn, growth = draw(self.training, rng), 1.0
        if drawn.affine is not None:
            growth = 1 + float(rng.uniform(-self.training.scale, self.training.scale))
        z, y, x = (int(v) for v in first)
        return drawn, Placement((z, y, x), size, drawn.affine, growth, drawn.horizontal, drawn.vertical)

    def _within(self, placed: Placement, whole: Crop, boxes: np.ndarray) -> Tensor:
        """Native boxes (n, 6) in a crop, as far as they reach into it."""
        kept, _ = cut_off(placed.move(whole.axes.to_network(boxes)), placed.size)
        return torch.from_numpy(kept.astype(np.float32))
