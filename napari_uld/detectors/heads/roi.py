"""The second stage: classify and refine proposals, with an optional segmentation branch."""

import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import RoIPool, roi_align

from napari_uld.detectors.heads.roi_branch import Positives, SegmentationBranch
from napari_uld.detectors.losses.supervision import Target
from napari_uld.detectors.parts import Features, Fused, ImageSizes

# Regions of this size are pooled at stride 16: half of the usual 224, as our anchors are half as large.
CANONICAL_SIZE, CANONICAL_STRIDE = 112, 16
# RoIAlign's samples in a cell, along each axis.
SAMPLES = 2


class SingleLevelRoiPool(nn.Module):
    """Fast R-CNN's max pooling of regions from a one-level backbone.

    Parameters
    ----------
    size
        Output cells on a side.
    stride
        Input pixels per feature cell.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.pool = RoIPool(size, 1 / stride)

    def forward(self, features: Features, boxes: list[Tensor], sizes: ImageSizes) -> Tensor:
        """Pool all boxes of all images, (sum of boxes, channels, size, size)."""
        (level,) = features.values()
        # Under autocast features are half precision, too coarse for boxes, and the op wants one type.
        return self.pool(level.float(), boxes)


class PyramidRoiAlign(nn.Module):
    """RoIAlign from the level that fits a region's size.

    torchvision's `MultiScaleRoIAlign` does the same, but guesses the strides from the first images' unpadded sizes,
    and reads half a cell beside the cell centres that anchors and targets here speak of.

    Parameters
    ----------
    size
        Output cells on a side.
    strides
        Input pixels per cell of the levels to pool from, finest first; further levels serve proposals alone.
    """

    def __init__(self, size: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        self.strides = tuple(strides)

    def level_of(self, boxes: Tensor) -> Tensor:
        """Index (n,) of the level for boxes (n, 4): regions of `CANONICAL_SIZE` belong to stride 16."""
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        wanted = sides * (CANONICAL_STRIDE / CANONICAL_SIZE) / self.strides[0]
        return wanted.clamp(min=1).log2().add(1e-6).long().clamp(max=len(self.strides) - 1)

    def forward(self, features: Features, boxes: list[Tensor], sizes: ImageSizes) -> Tensor:
        """Pool all boxes of all images, (sum of boxes, channels, size, size)."""
        # As above: boxes need single precision, and the op one type.
        levels = [level.float() for level in list(features.values())[: len(self.strides)]]
        numbers = torch.cat([b.new_full((len(b), 1), n) for n, b in enumerate(boxes)])
        regions = torch.cat([numbers, torch.cat(boxes)], dim=1)
        chosen = self.level_of(regions[:, 1:])
        pooled = levels[0].new_zeros((len(regions), levels[0].shape[1], self.size, self.size))
        for number, (level, stride) in enumerate(zip(levels, self.strides, strict=True)):
            own = torch.nonzero(chosen == number)[:, 0]
            pooled = pooled.index_copy(
                0, own, roi_align(level, regions[own], self.size, 1 / stride, SAMPLES, aligned=True)
            )
        return pooled


class BoxHead(nn.Module):
    """Fully connected layers, then class logits and one box refinement per class.

    Parameters
    ----------
    in_features
        Flattened size of a pooled region.
    layers, channels
        How many layers, and their width.
    classes
        Number of classes, the background counted.
    dropout
        Share of units dropped behind each layer in training.
    """

    def __init__(self, in_features: int, *, layers: int, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        widths = [in_features] + [channels] * layers
        self.layers = nn.Sequential(nn.Flatten())
        for before, after in zip(widths, widths[1:], strict=False):
            self.layers.extend([nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(dropout)])
        self.logits = nn.Linear(channels, classes)
        self.deltas = nn.Linear(channels, 4 * classes)
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.logits.bias)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (n, classes) and deltas (n, 4 * classes)."""
        hidden = self.layers(pooled)
        return self.logits(hidden).float(), self.deltas(hidden).float()


class RoiStage(RoIHeads):
    """torchvision's RoI heads with the 3DCE family's losses and one injected branch.

    Parameters
    ----------
    pool
        Pools regions from the features of one image; a slab's images are joined as channels.
    head
        Classifies and refines pooled regions.
    branch
        A segmentation branch, or None.
    iou
        Proposals at or above it are positive, those below are background.
    samples, positive
        Proposals taken from an image, and the share of positive ones among them at most.
    box_weight
        Weight of the box loss, whose deltas are not divided by standard deviations.
    score_threshold, nms, detections
        What is kept of an image's detections: `detections` of each class at most.
    """

    def __init__(
        self,
        *,
        pool: nn.Module,
        head: BoxHead,
        branch: SegmentationBranch | None,
        iou: float,
        samples: int,
        positive: float,
        box_weight: float,
        score_threshold: float,
        nms: float,
        detections: int,
    ) -> None:
        super().__init__(
            box_roi_pool=pool,
            box_head=nn.Identity(),
            box_predictor=head,
            fg_iou_thresh=iou,
            bg_iou_thresh=iou,
            batch_size_per_image=samples,
            positive_fraction=positive,
            bbox_reg_weights=(1.0, 1.0, 1.0, 1.0),
            score_thresh=score_threshold,
            nms_thresh=nms,
            # Each class has places of its own (`best_of_each_class`): one that is dropped later takes none of lesions'.
            detections_per_img=sys.maxsize,
        )
        self.detections = detections
        self.branch = branch
        self.box_weight = box_weight

    def forward(
        self,
        features: Fused,
        proposals: list[Tensor],
        image_shapes: ImageSizes,
        targets: list[Target] | None = None,
        *,
        maps: bool = True,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Give the detections of each slab, with the branch's `maps` where they are asked for, or the losses."""
        if targets is None:
            logits, deltas = self.classify(features, proposals, image_shapes)
            boxes, scores, labels = self.postprocess_detections(logits, deltas, proposals, image_shapes)
            kept = [self.best_of_each_class(own) for own in labels]
            boxes, scores, labels = ([v[k] for v, k in zip(of, kept, strict=True)] for of in (boxes, scores, labels))
            results = [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)]
            if self.branch is not None and maps:
                predicted = self.branch.predict(features.key, boxes, labels, image_shapes)
                for result, own in zip(results, predicted, strict=True):
                    result["masks"] = own
            return results, {}
        proposals, matched, labels, regression = self.select_training_samples(proposals, targets)
        logits, deltas = self.classify(features, proposals, image_shapes)
        losses = self.box_losses(logits, deltas, labels, regression)
        if self.branch is not None:
            positives = [
                Positives(p[c > 0], m[c > 0], c[c > 0]) for p, m, c in zip(proposals, matched, labels, strict=True)
            ]
            losses["branch"] = self.branch.loss(features.key, positives, image_shapes, targets)
        return [], losses

    def best_of_each_class(self, labels: Tensor) -> Tensor:
        """Which detections (n,), best first, are among the best of their class."""
        own = F.one_hot(labels)
        return (own.cumsum(dim=0) * own).sum(dim=1) <= self.detections

    def classify(self, features: Fused, proposals: list[Tensor], sizes: ImageSizes) -> tuple[Tensor, Tensor]:
        """Class logits and box deltas of all proposals."""
        pooled = [self.box_roi_pool(image, proposals, sizes) for image in features.context]
        return self.box_predictor(torch.cat(pooled, dim=1))

    def box_losses(
        self, logits: Tensor, deltas: Tensor, labels: list[Tensor], regression: list[Tensor]
    ) -> dict[str, Tensor]:
        """Cross entropy over all sampled proposals, smooth L1 (sigma 1) on the positive ones' own class."""
        classes = torch.cat(labels)
        wanted = torch.cat(regression)
        positive = torch.nonzero(classes > 0)[:, 0]
        own = deltas.view(len(deltas), -1, 4)[positive, classes[positive]]
        summed = F.smooth_l1_loss(own, wanted[positive], beta=1.0, reduction="sum")
        return {
            "classification": F.cross_entropy(logits, classes),
            "boxes": self.box_weight * summed / max(len(classes), 1),
        }
