"""RetinaNet, and what "Improving RetinaNet for CT lesion detection with dense masks" makes of it.

One stage: every anchor of five pyramid levels is classified and regressed. The dense model has its anchors one
level finer, a segmentation path whose predicted components calibrate the scores, and attention gates.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image, remove_small_boxes, sigmoid_focal_loss

from napari_uld.detectors.backbones.vgg import VggStages
from napari_uld.detectors.batch import pad_images, pad_maps
from napari_uld.detectors.encoders.pyramid import Attention, Pyramid, SegmentationPath, expect_little
from napari_uld.detectors.heads.anchors import CentredAnchorGenerator, Grid, make_grid
from napari_uld.detectors.losses.supervision import Target

# Smooth L1 with sigma 3, and deltas in units of .2, as in the code base that the paper builds on; that they are of
# the centre and the logarithm of the size, not of the corners, is ours, as everywhere in this project.
BETA = 1 / 9
DELTA_WEIGHTS = (5.0, 5.0, 5.0, 5.0)
# Names of the maps in its output: of lesions, and of a gate by the features that it weighs.
SEGMENTATION, ATTENTION = "segmentation", "attention "
# Of a map's components the largest are looked at: an untrained path's noise has thousands.
MOST_COMPONENTS = 100
# A box that lies beyond the image is cut off to nothing.
LEAST_SIZE = 1e-3
# A pixel belongs to a lesion from this probability on.
INSIDE = 0.5


class Head(nn.Module):
    """Two towers of 3x3 convolutions on every level: one classifies its anchors, the other regresses boxes.

    Parameters
    ----------
    in_channels, channels
        Of the pyramid and of the towers.
    layers
        Hidden convolutions of each tower.
    anchors
        Anchors on a cell.
    """

    def __init__(self, in_channels: int, *, channels: int, layers: int, anchors: int) -> None:
        super().__init__()
        classify = nn.Conv2d(channels, anchors, 3, padding=1)
        regress = nn.Conv2d(channels, 4 * anchors, 3, padding=1)
        self.classification = nn.Sequential(*_tower(in_channels, channels, layers), classify)
        self.regression = nn.Sequential(*_tower(in_channels, channels, layers), regress)
        # The usual .01 everywhere would leave hardly a signal behind a narrow tower.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(regress.weight, std=0.01)
        expect_little(classify)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (N, A, h, w) and deltas (N, 4A, h, w) of each level."""
        return [self.classification(level) for level in levels], [self.regression(level) for level in levels]


class AnchorLesson:
    """What anchors learn: focal loss on all but the doubtful ones, smooth L1 on the positive ones.

    A lesion that no anchor overlaps enough teaches nothing: unlike in two-stage detectors none is forced on it.

    Parameters
    ----------
    positive, negative
        An anchor is positive from the first IoU on and negative below the second.
    alpha, gamma
        Of the focal loss.
    """

    def __init__(self, *, positive: float, negative: float, alpha: float, gamma: float) -> None:
        self.matcher = Matcher(positive, negative, allow_low_quality_matches=False)
        self.coder = BoxCoder(DELTA_WEIGHTS)
        self.alpha = alpha
        self.gamma = gamma

    def losses(
        self, grid: Grid, logits: Tensor, deltas: Tensor, targets: list[Target]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses of (N, anchors) logits and (N, anchors, 4) deltas, and (N, levels) positive anchors.

        Both sums are divided by the number of positive anchors of the batch.
        """
        classification, boxes, counts = [], [], []
        for own_logits, own_deltas, target in zip(logits, deltas, targets, strict=True):
            matched = self.match(grid, target)
            positive = torch.nonzero(matched >= 0)[:, 0]
            taught = matched != Matcher.BETWEEN_THRESHOLDS
            labels = (matched >= 0).to(own_logits)
            focal = sigmoid_focal_loss(own_logits[taught], labels[taught], self.alpha, self.gamma, reduction="sum")
            wanted = self.coder.encode([target["boxes"][matched[positive]]], [grid.anchors[positive]])[0]
            classification.append(focal)
            boxes.append(F.smooth_l1_loss(own_deltas[positive], wanted, beta=BETA, reduction="sum"))
            counts.append(grid.per_level(positive))
        per_level = torch.stack(counts)
        total = per_level.sum().clamp(min=1)
        summed = {"classification": classification, "boxes": boxes}
        return {name: torch.stack(parts).sum() / total for name, parts in summed.items()}, per_level

    def match(self, grid: Grid, target: Target) -> Tensor:
        """Index of each anchor's box, -1 for background and -2 for neither."""
        if not len(target["boxes"]):
            return torch.full((len(grid.anchors),), Matcher.BELOW_LOW_THRESHOLD, device=grid.anchors.device)
        return self.matcher(box_iou(target["boxes"], grid.anchors))

    def segmentation_loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Focal loss of (N, H, W) logits with masks of 0 and 1, divided by the number of lesion pixels."""
        summed = sigmoid_focal_loss(logits, masks, self.alpha, self.gamma, reduction="sum")
        return summed / masks.sum().clamp(min=1)


class RetinaNet(nn.Module):
    """Composes injected parts and keeps torchvision's detection contract.

    In training ``(images, targets) -> dict of losses``, in evaluation ``images -> list of dicts`` with ``boxes``
    (edge-based), ``scores`` and ``labels``; with a segmentation path, scores are p~ / 2 = p (1 + IoU) / 2 (section 2.2
    of the paper; between 0 and 1). Where `predicts_maps` asks for them, ``segmentation`` (H, W) and
    ``attention C4`` ... (H, W) at the image's resolution come with them.

    Parameters
    ----------
    backbone, pyramid, head
        The detector.
    anchor_generator
        One size on each level.
    segmentation
        The dense model's path, or None.
    lesson
        What anchors and pixels learn.
    segmentation_weight
        Weight of the pixels' loss.
    component_margin
        Annotated boxes are wider than what they hold: so much is added to a component's box on each side, in input
        pixels (5 of the slice's own, which are as many where it has 512).
    candidates, score_threshold, nms, detections
        The most anchors decoded, the least p among them, and what non-maximum suppression leaves.
    """

    def __init__(
        self,
        *,
        backbone: VggStages,
        pyramid: Pyramid,
        head: Head,
        anchor_generator: CentredAnchorGenerator,
        segmentation: SegmentationPath | None,
        lesson: AnchorLesson,
        segmentation_weight: float,
        component_margin: float,
        candidates: int,
        score_threshold: float,
        nms: float,
        detections: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.anchor_head = head
        self.anchor_generator = anchor_generator
        self.segmentation = segmentation
        self.lesson = lesson
        self.segmentation_weight = segmentation_weight
        self.component_margin = component_margin
        self.candidates = candidates
        self.score_threshold = score_threshold
        self.nms = nms
        self.detections = detections
        self.predicts_maps = True
        self.size_divisible = backbone.strides[-1]
        by_stage = backbone.strides[pyramid.finest - 1 :]
        self.strides = by_stage + tuple(by_stage[-1] * 2 ** (n + 1) for n in range(len(pyramid.coarser)))
        # Positive anchors an image on each level (levels,) in the last batch, for the log.
        self.positives: dict[str, Tensor] = {}

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run on images (C, H, W) that may differ in size."""
        batch = pad_images(images, self.size_divisible)
        padded = batch.tensors.contiguous(memory_format=torch.channels_last)
        stages = self.backbone(padded)
        levels, attention = self.pyramid(stages)
        of_anchors = self.anchor_head(levels)
        logits, deltas = _by_anchor(of_anchors[0], 1)[..., 0], _by_anchor(of_anchors[1], 4)
        pixels = None
        if self.segmentation is not None:
            pixels, more = self.segmentation(padded, stages[0], levels[0])
            pixels, attention = pixels.float(), attention | more
        size = (int(padded.shape[-2]), int(padded.shape[-1]))
        grid = make_grid(self.anchor_generator, self.strides, size, like=logits)
        if self.training and targets is not None:
            return self._losses(grid, logits, deltas, pixels, targets, size)
        found = []
        for i, image_size in enumerate(batch.image_sizes):
            mask = None if pixels is None else pixels[i, : image_size[0], : image_size[1]].sigmoid()
            result = self._detections(grid, logits[i], deltas[i], mask, image_size)
            if self.predicts_maps:
                result |= {} if mask is None else {SEGMENTATION: mask}
                result |= _maps({name: level[i] for name, level in attention.items()}, size, image_size)
            found.append(result)
        return found

    def _losses(
        self,
        grid: Grid,
        logits: Tensor,
        deltas: Tensor,
        pixels: Tensor | None,
        targets: list[Target],
        size: tuple[int, int],
    ) -> dict[str, Tensor]:
        losses, positives = self.lesson.losses(grid, logits, deltas, targets)
        self.positives = {"anchors": positives.float().mean(dim=0)}
        if pixels is not None:
            masks = torch.stack([pad_maps(target, size)["masks"].any(dim=0) for target in targets]).to(pixels)
            losses["segmentation"] = self.segmentation_weight * self.lesson.segmentation_loss(pixels, masks)
        return losses

    def _detections(
        self, grid: Grid, logits: Tensor, deltas: Tensor, mask: Tensor | None, size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Decode, calibrate and suppress the anchors of one image, best first."""
        scores = logits.sigmoid()
        likely = torch.nonzero(scores > self.score_threshold)[:, 0]
        likely = likely[scores[likely].topk(min(self.candidates, len(likely))).indices]
        scores = scores[likely]
        boxes = clip_boxes_to_image(self.lesson.coder.decode_single(deltas[likely], grid.anchors[likely]), size)
        there = remove_small_boxes(boxes, LEAST_SIZE)
        boxes, scores, likely = boxes[there], scores[there], likely[there]
        if mask is not None:
            scores = scores * (1 + best_overlap(boxes, component_boxes(mask, self.component_margin))) / 2
        kept = batched_nms(boxes, scores, torch.zeros_like(likely), self.nms)[: self.detections]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": torch.ones_like(kept)}


def component_boxes(mask: Tensor, margin: float) -> Tensor:
    """Edge-based boxes (k, 4) about the largest components of a map (H, W) of probabilities, wider by `margin`."""
    inside = (mask >= INSIDE).cpu().numpy().astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MOST_COMPONENTS]
    x, y, width, height = stats[1:][largest, :4].T
    boxes = np.stack([x - margin, y - margin, x + width + margin, y + height + margin], axis=1).astype(np.float32)
    return clip_boxes_to_image(torch.from_numpy(boxes).to(mask.device), inside.shape)


def best_overlap(boxes: Tensor, components: Tensor) -> Tensor:
    """IoU (n,) of each box with the component's box that it fits best, 0 where there is none."""
    if not len(components):
        return boxes.new_zeros(len(boxes))
    return box_iou(boxes, components).amax(dim=1)


def _by_anchor(levels: list[Tensor], values: int) -> Tensor:
    """Levels (N, A * values, h, w) -> (N, all levels' anchors, values), all anchors of a cell together."""
    rows = [level.unflatten(1, (-1, values)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in levels]
    # Boxes are computed in single precision even where features are not: half has steps of .25 px.
    return torch.cat(rows, dim=1).float()


def _maps(attention: Attention, padded: tuple[int, int], size: tuple[int, int]) -> dict[str, Tensor]:
    """One image's attention maps (1, h, w) at its own resolution, (H, W)."""
    resized = {
        name: F.interpolate(level[None].float(), size=padded, mode="bilinear") for name, level in attention.items()
    }
    return {ATTENTION + name: level[0, 0, : size[0], : size[1]] for name, level in resized.items()}


def _tower(channels: int, hidden: int, layers: int) -> list[nn.Module]:
    """3x3 convolutions, a ReLU behind each."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(inplace=True)]
        channels = hidden
    return parts
