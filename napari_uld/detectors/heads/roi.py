"""The second stage: classify and refine proposals, with an optional segmentation branch."""

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from napari_uld.detectors.heads.roi_branch import SegmentationBranch
from napari_uld.detectors.losses.branch import Positives
from napari_uld.detectors.losses.iou import of_negatives
from napari_uld.detectors.losses.samples import draw, draw_background
from napari_uld.detectors.parts import Fused, ImageSizes, Target

# What a proposal is that is neither a lesion nor background.
NEITHER = -1


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
        Weight of the box loss.
    box_stds
        Standard deviations of (x, y, w, h) that box deltas are divided by.
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
        box_stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
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
            bbox_reg_weights=tuple(1 / std for std in box_stds),
            score_thresh=score_threshold,
            nms_thresh=nms,
            # Each class has places of its own (`best_of_each_class`): one that is dropped later takes none of lesions'.
            detections_per_img=sys.maxsize,
        )
        self.iou, self.samples, self.positive = iou, samples, positive
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
            logits, deltas = self.classify(features, proposals)
            boxes, scores, labels = self.postprocess_detections(logits, deltas, proposals, image_shapes)
            kept = [self.best_of_each_class(of_image) for of_image in labels]
            boxes, scores, labels = ([v[k] for v, k in zip(of, kept, strict=True)] for of in (boxes, scores, labels))
            results = [{"boxes": b, "scores": s, "labels": c} for b, s, c in zip(boxes, scores, labels, strict=True)]
            if self.branch is not None and maps:
                predicted = self.branch.predict(features.key, boxes, labels)
                for result, masks in zip(results, predicted, strict=True):
                    result["masks"] = masks
            return results, {}
        proposals, matched, labels, regression = self.select_training_samples(proposals, targets)
        logits, deltas = self.classify(features, proposals)
        losses = self.box_losses(logits, deltas, labels, regression)
        if self.branch is not None:
            positives = [
                Positives(p[c > 0], m[c > 0], c[c > 0]) for p, m, c in zip(proposals, matched, labels, strict=True)
            ]
            losses["branch"] = self.branch.loss(features.key, positives, targets)
        return [], losses

    def select_training_samples(
        self, proposals: list[Tensor], targets: list[Target] | None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """Sample proposals and lesions of each image: (boxes, lesion of each, class of each, box regression).

        As torchvision does, but of background those that are ignored boxes' are left out, and those that are hard
        negatives' come first, which are among the proposals like the lesions.
        """
        if targets is None or not any(name in target for target in targets for name in ("ignored", "negatives")):
            return super().select_training_samples(proposals, targets)
        lesions = [target["boxes"].to(proposals[0]) for target in targets]
        added = [torch.cat([boxes, t.get("negatives", boxes[:0])]) for boxes, t in zip(lesions, targets, strict=True)]
        proposals = self.add_gt_proposals(proposals, added)
        matched, labels = self.assign_targets_to_proposals(proposals, lesions, [t["labels"] for t in targets])
        chosen = []
        for boxes, classes, target in zip(proposals, labels, targets, strict=True):
            if "ignored" in target:
                classes[(classes == 0) & self.overlaps(boxes, target["ignored"])] = NEITHER
            positive = draw(torch.nonzero(classes > 0)[:, 0], int(self.samples * self.positive))
            background = torch.nonzero(classes == 0)[:, 0]
            first = of_negatives(boxes, target)
            chosen.append(torch.cat([positive, draw_background(background, first, self.samples - len(positive))]))
        proposals, matched, labels = (
            [v[k] for v, k in zip(of, chosen, strict=True)] for of in (proposals, matched, labels)
        )
        of_proposals = [
            boxes[lesion] if len(boxes) else proposed.new_zeros((len(proposed), 4))
            for boxes, lesion, proposed in zip(lesions, matched, proposals, strict=True)
        ]
        return proposals, matched, labels, list(self.box_coder.encode(of_proposals, proposals))

    def overlaps(self, boxes: Tensor, others: Tensor) -> Tensor:
        """Which boxes (n, 4) overlap any of the others as much as a positive proposal does its lesion, (n,) bool."""
        return (box_iou(boxes, others) >= self.iou).any(dim=1)

    def best_of_each_class(self, labels: Tensor) -> Tensor:
        """Which detections (n,), best first, are among the best of their class."""
        # By the classes that are there: of no detection at all there is none.
        of_class = labels[:, None] == labels.unique()
        return (of_class.cumsum(dim=0) * of_class).sum(dim=1) <= self.detections

    def classify(self, features: Fused, proposals: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits and box deltas of all proposals."""
        pooled = [self.box_roi_pool(image, proposals) for image in features.context]
        return self.box_predictor(torch.cat(pooled, dim=1))

    def box_losses(
        self, logits: Tensor, deltas: Tensor, labels: list[Tensor], regression: list[Tensor]
    ) -> dict[str, Tensor]:
        """Cross entropy over all sampled proposals, smooth L1 (sigma 1) on the positive ones' own class."""
        classes = torch.cat(labels)
        wanted = torch.cat(regression)
        positive = torch.nonzero(classes > 0)[:, 0]
        of_own_class = deltas.view(len(deltas), -1, 4)[positive, classes[positive]]
        summed = F.smooth_l1_loss(of_own_class, wanted[positive], beta=1.0, reduction="sum")
        return {
            "classification": F.cross_entropy(logits, classes),
            "boxes": self.box_weight * summed / max(len(classes), 1),
        }
