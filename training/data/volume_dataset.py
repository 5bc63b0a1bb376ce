"""Crops of whole phantom scans as a volumetric network's input and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_uld.ct.deeplesion import slices_on_disk
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.detectors.targets import cut_off
from napari_uld.inference.slabs import normalize
from napari_uld.inference.volumes import AIR_HU, Crop, resample
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.lesions.rle import decode

from .cache import BoundedCache
from .key_slices import Split, split_series
from .known_scan import KnownScan
from .phantom.truth import read_truth


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
    """


def true_volumes(root: Path, split: Split) -> list[TrueVolume]:
    """All phantom scans of a split.

    Raises
    ------
    DataError
        If there is none.
    """
    volumes = []
    for name in split_series(root, split):
        # Native numbers fall towards the head.
        z_of = {number: z for z, number in enumerate(sorted(slices_on_disk(root, name), reverse=True))}
        boxes = [
            tight_box({z_of[number]: decode(mask) for number, mask in lesion.masks.items()})
            for lesion in read_truth(root, name)
        ]
        volumes.append(TrueVolume(root, name, np.asarray(boxes, float).reshape(-1, 6)))
    return volumes


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
    """Crops about lesions with their 3D boxes, ready for a volumetric detector.

    Parameters
    ----------
    volumes
        The scans.
    inputs
        What the network sees: crops of (`slices`, `long_side`, `long_side`) voxels.
    training
        How crops are flipped; not at all by default.
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
        training: TrainingSpec | None = None,
        seed: int = 0,
    ) -> None:
        self.volumes = volumes
        self.inputs = inputs
        self.training = training or TrainingSpec()
        self.seed = seed
        self.epoch = 0
        self._lesions = [(number, box) for number, each in enumerate(volumes) for box in each.boxes]
        self._resampled: BoundedCache[int, Crop] = BoundedCache()

    def __len__(self) -> int:
        return len(self._lesions)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        number, lesion = self._lesions[index]
        whole = self._whole(number)
        rng = np.random.default_rng([self.seed, self.epoch, index])
        crop = self._about(whole, lesion, rng)
        boxes, _ = cut_off(crop.axes.to_network(self.volumes[number].boxes), crop.hu.shape)
        image = normalize(crop.hu, self.inputs)
        for axis, chance in ((2, self.training.horizontal_flip), (1, self.training.vertical_flip)):
            if rng.random() < chance:
                image = np.flip(image, axis)
                column = 2 - axis
                boxes[:, [column, column + 3]] = image.shape[axis] - boxes[:, [column + 3, column]]
        target = {
            "boxes": torch.from_numpy(boxes.astype(np.float32)),
            "labels": torch.ones(len(boxes), dtype=torch.int64),
            "thickness": torch.tensor(crop.thickness, dtype=torch.float32),
        }
        return torch.from_numpy(np.ascontiguousarray(image))[None], target

    def _whole(self, number: int) -> Crop:
        def make() -> Crop:
            scan = self.volumes[number].read()
            return resample(scan.hu, scan.spacing, self.inputs)

        return self._resampled.get(number, make, lambda crop: crop.hu.nbytes)

    def _about(self, whole: Crop, lesion: np.ndarray, rng: np.random.Generator) -> Crop:
        """A crop that holds a lesion's centre anywhere but in its outer quarters; air lies beyond the scan."""
        size = np.array([self.inputs.slices, self.inputs.long_side, self.inputs.long_side])
        (box,) = whole.axes.to_network(lesion[None])
        centre = (box[:3] + box[3:])[::-1] / 2
        first = np.floor(centre - size * rng.uniform(0.25, 0.75, 3)).astype(int)
        hu = np.full(size, AIR_HU, np.float32)
        low, high = np.maximum(first, 0), np.minimum(first + size, whole.hu.shape)
        inside = tuple(slice(a, b) for a, b in zip(low - first, high - first, strict=True))
        hu[inside] = whole.hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        offset = tuple(o + f / s for o, f, s in zip(whole.axes.offset, first[::-1], whole.axes.scale, strict=True))
        return Crop(hu, AxisMap(offset, whole.axes.scale), whole.thickness)
