"""Key slices as a network's input and targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from napari_uld.ct.deeplesion import slices_on_disk
from napari_uld.detectors.parts import POSITION
from napari_uld.detectors.specs.family import SupervisionSpec, TargetMaps
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.detectors.targets import cut_off, make_target
from napari_uld.inference.slabs import Slab
from napari_uld.lesions.findings import HARD_NEGATIVE_LABEL, LESION_LABEL
from napari_uld.lesions.rle import Rle
from napari_uld.masks import MaskKind

from .augment import Augmentation, draw, slices_away
from .cache import BoundedCache
from .key_slices import KeySlice, read_slab
from .mask_store import MaskStore
from .masks import lesion_masks, to_slab
from .true_boxes import TrueBoxes


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """False positives mined on one image, to be taught as a class of their own.

    Parameters
    ----------
    boxes
        (n, 4) native pixel-centre boxes.
    scores
        (n,) how sure the detector was of a lesion.
    masks
        Their predicted masks in native pixels.
    overlaps
        (n,) the IoU of each mask with a lesion's at most, S2 in the paper; None where nobody kept it.
    """

    boxes: np.ndarray
    scores: np.ndarray
    masks: tuple[Rle, ...]
    overlaps: np.ndarray | None = None


class SlabDataset(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Slabs with their targets, ready for a detector.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    slices
        The images.
    inputs, supervision
        What the network sees, and what its targets carry beside boxes (default: nothing).
    training
        How images are augmented; not at all by default.
    seed
        What is done to an image in epoch e is drawn from (seed, e, index): the same whatever the number of loaders.

    Attributes
    ----------
    epoch
        The epoch that is drawn for.
    negatives
        Hard negatives by index of their image, taught beside the lesions.
    free
        Indices of images that show no lesion, of which batches have a share.
    by_lesion
        For each lesion the indices of the images that show it, where an epoch sees one of them a lesion instead of all.
    first_negatives
        By index of their image (n, 4) native boxes of hard negatives that are sampled first as background.
    truth
        Where it is there, targets have ``true_boxes`` (n, 4) of all lesions, listed or not.
    """

    def __init__(
        self,
        root: Path,
        slices: list[KeySlice],
        inputs: InputSpec,
        supervision: SupervisionSpec | None = None,
        *,
        training: TrainingSpec | None = None,
        seed: int = 0,
    ) -> None:
        self.root = root
        self.slices = slices
        self.inputs = inputs
        self.supervision = supervision
        self.training = training or TrainingSpec()
        self.seed = seed
        self.epoch = 0
        self.negatives: Mapping[int, HardNegatives] = {}
        self.free = range(0)
        self.by_lesion: Sequence[np.ndarray] = ()
        self.first_negatives: Mapping[int, np.ndarray] = {}
        self.truth: TrueBoxes | None = None
        kind = supervision.mask_kind if supervision is not None else None
        self._maps = TargetMaps() if supervision is None else supervision.maps
        self._store = None if kind is None else MaskStore(root, MaskKind(kind))
        self._masks: dict[int, tuple[Rle, ...]] = {}
        self._cache: BoundedCache[tuple[int, int], Slab] = BoundedCache()
        self._on_disk: dict[str, frozenset[int]] = {}

    def __len__(self) -> int:
        return len(self.slices)

    def of_epoch(self) -> list[int]:
        """Indices of the images of the epoch, beside those that are free of lesions.

        Where there is one a lesion it is drawn from (seed, epoch): the same whatever the number of loaders.
        """
        rng = np.random.default_rng([self.seed, self.epoch])
        drawn = [int(rng.choice(images)) for images in self.by_lesion]
        left = set(range(len(self))) - set(self.free)
        return drawn + sorted(left.difference(*map(np.ndarray.tolist, self.by_lesion)))

    def slab(self, index: int, away: int = 0) -> Slab:
        """The slab of one image, or of the one `away` slices from it, from memory where it was made before."""
        key = replace(self.slices[index], number=self.slices[index].number + away)
        return self._cache.get(
            (index, away), lambda: read_slab(self.root, key, self.inputs), lambda slab: slab.hu.nbytes
        )

    def away(self, index: int, along_z: float) -> int:
        """How many slices from its key slice an image is taken; none where that slice is not on disk."""
        key = self.slices[index]
        if not along_z or not len(key.boxes):
            return 0
        if key.series not in self._on_disk:
            self._on_disk[key.series] = frozenset(slices_on_disk(self.root, key.series))
        sides = (key.boxes[:, 2:] - key.boxes[:, :2]) * key.spacing[:0:-1]
        away = slices_away(along_z, int(self.training.z_shift * sides.min() / 2 / key.spacing[0]))
        return away if key.number + away in self._on_disk[key.series] else 0

    def masks(self, index: int) -> tuple[Rle, ...]:
        """Masks of an image's lesions in native pixels; none where the supervision asks for none."""
        if self._store is None:
            return ()
        if index not in self._masks:
            self._masks[index] = lesion_masks(self.root, self.slices[index], self._store)
        return self._masks[index]

    def drawn(self, epoch: int, index: int) -> Augmentation:
        """How an image is augmented in an epoch."""
        return draw(self.training, np.random.default_rng([self.seed, epoch, index]))

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        augmentation, outside = self.drawn(self.epoch, index), -self.inputs.mean
        away = self.away(index, augmentation.along_z)
        slab = self.slab(index, away)
        image = augmentation.normalize(slab.hu, self.inputs)
        boxes, labels, masks = (
            self.slices[index].boxes,
            np.full(len(self.slices[index].boxes), LESION_LABEL),
            self.masks(index),
        )
        if index in self.negatives:
            mined = self.negatives[index]
            boxes = np.concatenate([boxes, mined.boxes])
            labels = np.concatenate([labels, np.full(len(mined.boxes), HARD_NEGATIVE_LABEL)])
            masks = (*masks, *mined.masks)
        maps = None if self._store is None else to_slab(masks, slab)
        image, boxes, maps, kept = augmentation.apply(image, slab.axes.to_network(boxes), maps, outside)
        shape = image.shape[1], image.shape[2]
        boxes, within = cut_off(boxes, shape)
        target = make_target(
            boxes,
            labels[kept][within],
            None if maps is None else maps[within],
            shape,
            maps=self._maps,
            pixel_area=slab.pixel_area,
        )
        target["thickness"] = torch.tensor(slab.thickness, dtype=torch.float32)
        position = self.slices[index].position
        if self.supervision is not None and self.supervision.takes_position and position is not None:
            target[POSITION] = torch.tensor(position, dtype=torch.float32)
        # What making it anew for other lesions takes: its pixels in mm^2, and how many of them a native one is wide.
        if self._maps.names:
            target["pixel_area"] = torch.tensor(slab.pixel_area, dtype=torch.float64)
        if maps is not None:
            target["scale"] = torch.tensor(np.sqrt(np.prod(slab.axes.scale)), dtype=torch.float64)
        others = {} if away else {"negatives": self.first_negatives.get(index)}
        if self.truth is not None:
            others["true_boxes"] = self.truth.on(self.slices[index].series, self.slices[index].number + away)
        for name, native in others.items():
            if native is not None:
                moved, _ = augmentation.move(slab.axes.to_network(native), shape)
                target[name] = torch.from_numpy(cut_off(moved, shape)[0].astype(np.float32))
        return torch.from_numpy(np.ascontiguousarray(image)), target
