"""The proposal network: torchvision's, with injected supervision."""

import itertools
from functools import cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid, make_grid
from napari_uld.detectors.losses.bounding_map import BmcRegression, grid_values, values_at_centres
from napari_uld.detectors.losses.iou import IouAssigner
from napari_uld.detectors.losses.samples import Objectness, Regression
from napari_uld.detectors.parts import Features, Target, Taught

# Smooth L1 with sigma 3: quadratic below 1 / sigma^2.
RPN_BETA = 1 / 9
# Non-maximum suppression looks at so many times the wanted proposals first.
FIRST_PART = 4
# A proposal without area overlaps nothing, not even itself.
LEAST_SIZE = 1e-3


class Rules(NamedTuple):
    """Rules by which anchors are positive, to look at: those that are followed, and the others as published.

    Parameters
    ----------
    iou, bm
        Positive by IoU, taught 1 or the bounding map's value.
    bmc
        Positive where the bounding map says so.
    """

    iou: IouAssigner
    bm: IouAssigner
    bmc: BmcRegression


class ProposalHead(nn.Module):
    """A convolution, then objectness and box deltas for each anchor.

    Parameters
    ----------
    in_channels, channels
        Channels of the features and of the hidden layer.
    anchors
        Anchors on a cell.
    kernel
        Cells on a side that the convolution sees.
    """

    def __init__(self, in_channels: int, channels: int, anchors: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
        self.objectness = nn.Conv2d(channels, anchors, 1)
        self.deltas = nn.Conv2d(channels, 4 * anchors, 1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness (N, A, h, w) and deltas (N, 4A, h, w) of each level."""
        hidden = [F.relu(self.conv(level)) for level in features]
        return [self.objectness(h) for h in hidden], [self.deltas(h) for h in hidden]


class ProposalNetwork(RegionProposalNetwork):
    """Proposes regions; what its objectness and its boxes learn from is injected.

    Parameters
    ----------
    anchors
        Anchor generator.
    head
        Predicts objectness and deltas.
    strides
        Input pixels per cell of each level, finest first.
    assigner
        Matches anchors with lesions by IoU, for the parts that pick from these.
    objectness, regression
        Pick what is learnt.
    rules
        What `taught` tells.
    before_nms, after_nms
        Proposals kept before and after non-maximum suppression, (training, evaluation).
    nms
        IoU above which the lower-scored proposal is dropped.
    min_size
        Smallest side of a proposal in input pixels.
    """

    def __init__(
        self,
        anchors: CentredAnchorGenerator,
        head: ProposalHead,
        *,
        strides: tuple[int, ...],
        assigner: IouAssigner,
        objectness: Objectness,
        regression: Regression,
        rules: Rules,
        before_nms: tuple[int, int],
        after_nms: tuple[int, int],
        nms: float,
        min_size: float,
    ) -> None:
        phases = ("training", "testing")
        super().__init__(
            anchors,
            head,
            # Matching and sampling are the injected parts' business; the base class never gets to use these.
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=1,
            positive_fraction=0.5,
            pre_nms_top_n=dict(zip(phases, before_nms, strict=True)),
            post_nms_top_n=dict(zip(phases, after_nms, strict=True)),
            nms_thresh=nms,
        )
        self.min_size = max(min_size, LEAST_SIZE)
        self.strides = strides
        self.assigner = assigner
        self.objectness = objectness
        self.regression = regression
        self.rules = rules
        # Positive anchors an image on each level in the last training batch, for the log.
        self.positives: dict[str, list[float]] = {}

    def forward(
        self, images: ImageList, features: Features, targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Propose boxes for each image, best first; with `targets` give the losses as well."""
        levels = list(features.values())
        # Boxes are computed in single precision even where features are not: half has steps of .25 px.
        objectness, deltas = ([value.float() for value in values] for values in self.head(levels))
        anchors = self.anchor_generator(images, [level.float() for level in levels])
        per_level = [o.shape[1] * o.shape[2] * o.shape[3] for o in objectness]
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        count = len(anchors)
        logits, deltas = objectness.view(count, -1), deltas.view(count, -1, 4)
        boxes = [
            self.propose(logits[i].detach(), deltas[i].detach(), anchors[i], per_level, images.image_sizes[i])
            for i in range(count)
        ]
        if targets is None:
            return boxes, {}
        per_cell = self.anchor_generator.num_anchors_per_location()[0]
        sizes = tuple((int(f.shape[2]), int(f.shape[3])) for f in levels)
        grids = [Grid(a, sizes, per_cell, tuple(map(float, self.strides))) for a in anchors]
        return boxes, self.losses(grids, logits, deltas, targets)

    def propose(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, per_level: list[int], size: tuple[int, int]
    ) -> Tensor:
        """Give the boxes (n, 4) of one image that survive non-maximum suppression within their level, best first."""
        ends = [0, *itertools.accumulate(per_level)]
        top = torch.cat(
            [
                first + logits[first:last].topk(min(self.pre_nms_top_n(), last - first)).indices
                for first, last in itertools.pairwise(ends)
            ]
        )
        top = top[logits[top].argsort(descending=True, stable=True)]
        levels = torch.bucketize(top, torch.tensor(ends[1:], device=top.device), right=True)
        # Only what may be proposed is decoded: a twentieth of all anchors.
        boxes = clip_boxes_to_image(self.box_coder.decode_single(deltas[top], anchors[top]), size)
        large = remove_small_boxes(boxes, self.min_size)
        return survivors(boxes[large], logits[top][large], levels[large], self.nms_thresh, self.post_nms_top_n())

    def losses(self, grids: list[Grid], objectness: Tensor, deltas: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Binary cross entropy on the picked anchors, smooth L1 on the positive ones; each a mean over the images."""
        of_objectness, of_boxes = [], []
        counts: dict[str, list[Tensor]] = {"objectness": [], "regression": []}
        for grid, logits, delta, target in zip(grids, objectness, deltas, targets, strict=True):
            # Parts that go by bounding maps alone never ask.
            matched = cache(partial(self.assigner.match, grid, target))
            picked = self.objectness(grid, target, matched)
            of_objectness.append(F.binary_cross_entropy_with_logits(logits[picked.anchors], picked.labels))
            positive = self.regression(grid, target, matched)
            boxes = target["boxes"][positive.lesions]
            wanted = self.box_coder.encode([boxes], [grid.anchors[positive.anchors]])[0]
            summed = F.smooth_l1_loss(delta[positive.anchors], wanted, beta=RPN_BETA, reduction="sum")
            of_boxes.append(summed / positive.normalizer)
            counts["objectness"].append(grid.per_level(picked.positives))
            counts["regression"].append(grid.per_level(positive.anchors))
        self.positives = {name: torch.stack(count).float().mean(dim=0).tolist() for name, count in counts.items()}
        return {"objectness": torch.stack(of_objectness).mean(), "proposal_boxes": torch.stack(of_boxes).mean()}

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The anchors of an image of that padded size."""
        return make_grid(self.anchor_generator, self.strides, (size[0], size[1]))

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """The anchors that are positive by IoU, by BM and by BMC."""
        grid = self.grid(size)
        taught = {}
        for name, assigner in (("iou", self.rules.iou), ("bm", self.rules.bm)):
            lesions = assigner.match(grid, target)
            anchors = torch.nonzero(lesions >= 0)[:, 0]
            boxes = grid.anchors[anchors]
            labels = values_at_centres(target["bm"], boxes) if name == "bm" else torch.ones(len(anchors))
            taught[name] = Taught(boxes, labels, lesions[anchors], grid.level_of(anchors))
        picked = self.rules.bmc(grid, target, lambda: lesions)
        labels = grid_values(target["bm"], grid)[picked.anchors // grid.per_cell]
        taught["bmc"] = Taught(grid.anchors[picked.anchors], labels, picked.lesions, grid.level_of(picked.anchors))
        return taught


def survivors(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, most: int) -> Tensor:
    """Give the `most` best boxes that non-maximum suppression within groups leaves.

    Whether a box survives depends on better ones alone, so a part of the best is looked at first:
    as a rule it holds enough, and suppression takes time with the square of what it looks at.

    Parameters
    ----------
    boxes, scores, groups
        (n, 4), (n,) in descending order, and (n,).
    iou
        A box that overlaps a better one of its group by more goes.
    """
    part = FIRST_PART * most
    kept = batched_nms(boxes[:part], scores[:part], groups[:part], iou)
    if len(kept) < most and part < len(boxes):
        kept = batched_nms(boxes, scores, groups, iou)
    return boxes[kept[:most]]
