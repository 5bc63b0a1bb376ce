"""The second stage: classify and refine proposals, with an optional segmentation branch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import RoIPool

from napari_uld.detectors.fusion import Features, Fused, ImageSizes
from napari_uld.detectors.roi_branch import Positives, SegmentationBranch
from napari_uld.detectors.supervision import Target


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
        What is kept of an image's detections.
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
            detections_per_img=detections,
        )
        self.branch = branch
        # The branch costs about half of a small detector's time: whoever wants boxes alone switches it off.
        self.predicts_maps = True
        self.box_weight = box_weight

    def forward(
        self, features: Fused, proposals: list[Tensor], image_shapes: ImageSizes, targets: list[Target] | None = None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Give the detections of each slab, or with `targets` the losses."""
        if targets is None:
            logits, deltas = self.classify(features, proposals, image_shapes)
            boxes, scores, labels = self.postprocess_detections(logits, deltas, proposals, image_shapes)
            results = [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)]
            if self.branch is not None and self.predicts_maps:
                predicted = self.branch.predict(features.key, boxes, labels, image_shapes)
                for result, maps in zip(results, predicted, strict=True):
                    result["masks"] = maps
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
