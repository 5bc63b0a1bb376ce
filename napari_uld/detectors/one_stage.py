"""A one-stage detector: slab encoder -> dense head, with an optional segmentation path that calibrates its scores."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.heads.segmentation import Calibration, SegmentationPath
from napari_uld.detectors.losses.samples import centres_within
from napari_uld.detectors.parts import (
    ATTENTION,
    SEGMENTATION,
    Calibrate,
    DenseHead,
    Detections,
    Features,
    Fused,
    GridSize,
    SlabEncoder,
    Target,
    Taught,
)
from napari_uld.detectors.slab_detector import SlabDetector


class OneStageDetector(SlabDetector):
    """Composes injected parts, on slabs or volumes.

    Where `predicts_maps` asks for them, detections of a slab come with ``segmentation`` (H, W) and ``attention C4`` ...
    (H, W) at the image's resolution.

    Parameters
    ----------
    encoder, slices_per_image, size_divisible
        As in `SlabDetector`.
    head
        Finds lesions on the key slice's levels.
    segmentation
        A path down to a map of lesions, or None. Targets then hold ``masks`` (n, H, W).
    calibration
        Changes scores by that map, or None.
    """

    head: DenseHead

    def __init__(
        self,
        *,
        encoder: SlabEncoder,
        head: DenseHead,
        slices_per_image: int,
        segmentation: SegmentationPath | None = None,
        calibration: Calibration | None = None,
        size_divisible: int | None = None,
    ) -> None:
        super().__init__(encoder=encoder, slices_per_image=slices_per_image, size_divisible=size_divisible)
        self.head = head
        self.segmentation = segmentation
        self.calibration = calibration

    def on_features(
        self, slab: list[Features], batch: ImageList, thickness: Tensor, targets: list[Target] | None
    ) -> dict[str, Tensor] | Detections:
        """Losses where there are targets, else detections."""
        fused = self.encoder.join(slab, thickness)
        raw = self.head(list(fused.key.values()))
        logits, maps = self._segment(batch.tensors, fused)
        if targets is not None:
            losses = self.head.losses(raw, targets)
            if self.segmentation is not None and logits is not None:
                masks = torch.stack([target["masks"].any(dim=0) for target in targets])
                losses["segmentation"] = self.segmentation.loss(
                    logits, masks.to(logits), _ignored_pixels(targets, masks)
                )
            return losses
        segmented = (
            []
            if logits is None
            else [
                image[: size[-2], : size[-1]].sigmoid() for image, size in zip(logits, batch.image_sizes, strict=True)
            ]
        )
        detections = self.head.detect(raw, batch.image_sizes, self._calibrate(segmented))
        if self.predicts_maps:
            padded = (int(batch.tensors.shape[-2]), int(batch.tensors.shape[-1]))
            for number, (result, size) in enumerate(zip(detections, batch.image_sizes, strict=True)):
                result |= {SEGMENTATION: segmented[number]} if segmented else {}
                result |= _at_resolution({name: of[number] for name, of in maps.items()}, padded, size)
        return detections

    def _segment(self, images: Tensor, fused: Fused) -> tuple[Tensor | None, Features]:
        """Logits (N, H, W) where there is a path, and all maps of attention."""
        if self.segmentation is None:
            return None, fused.maps
        levels = next(iter(fused.key.values()))
        logits, attention = self.segmentation(images, fused.stem["C1"], levels)
        return logits.float(), {**fused.maps, **attention}

    def _calibrate(self, segmented: list[Tensor]) -> Calibrate | None:
        if self.calibration is None or not segmented:
            return None
        calibration = self.calibration
        return lambda number, boxes, scores: calibration(segmented[number], boxes, scores)

    @property
    def dense_head(self) -> nn.Module:
        """The head."""
        return self.head  # type: ignore[return-value]

    def diagnostics(self) -> dict[str, list[float]]:
        """Counts of the head's last training batch."""
        return self.head.diagnostics()

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How many cells the head looks at, and guesses on each."""
        return self.head.grid_size(size)

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """What the head calls positive."""
        return self.head.taught(target, size)


def _ignored_pixels(targets: list[Target], masks: Tensor) -> Tensor | None:
    """Pixels (N, H, W) bool in ignored boxes that no lesion's mask covers; None where no box is ignored."""
    if not any("ignored" in target for target in targets):
        return None
    height, width = masks.shape[-2:]
    rows = torch.arange(height, device=masks.device) + 0.5
    columns = torch.arange(width, device=masks.device) + 0.5
    centres = torch.cartesian_prod(rows, columns).flip(1)
    within = [
        centres_within(centres, target["ignored"])
        if "ignored" in target
        else torch.zeros_like(centres[:, 0], dtype=torch.bool)
        for target in targets
    ]
    return torch.stack(within).view(-1, height, width) & ~masks.bool()


def _at_resolution(maps: Features, padded: tuple[int, int], size: tuple[int, ...]) -> Features:
    """One image's attention maps (1, h, w) at its own resolution, (H, W)."""
    resized = {name: F.interpolate(level[None].float(), size=padded, mode="bilinear") for name, level in maps.items()}
    return {ATTENTION + name: level[0, 0, : size[-2], : size[-1]] for name, level in resized.items()}
