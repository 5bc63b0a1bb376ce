"""What queries learn: each lesion is told by one of them, whichever fits it best at the least cost.

Carion et al., "End-to-End Object Detection with Transformers", with the focal loss of "Deformable DETR". Boxes are
(centre x, centre y, width, height) in shares of the padded image.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, box_iou, generalized_box_iou, generalized_box_iou_loss

from napari_uld.detectors.losses.focal import focal_of
from napari_uld.detectors.losses.iou import BACKGROUND, DOUBTFUL
from napari_uld.detectors.parts import Target

# From this IoU with an ignored box on a query may have found what is there: it is not taught that this is nothing.
IGNORED_IOU = 0.5
# Keeps a cost finite where a query is quite sure.
LEAST = 1e-8


class Weights(NamedTuple):
    """Of the classification, of boxes' distances and of their generalised IoU, in the costs and in the losses."""

    classification: float
    boxes: float
    overlap: float


class QueryLoss:
    """Matches queries with lesions by their least total cost, then focal loss on all, boxes on those matched.

    Parameters
    ----------
    weights
        Of costs and of losses.
    alpha, gamma
        Of the focal loss, and of the cost that is made like it.
    """

    def __init__(self, weights: Weights, *, alpha: float, gamma: float) -> None:
        self.weights = weights
        self.alpha = alpha
        self.gamma = gamma

    def __call__(self, logits: Tensor, boxes: Tensor, targets: list[Target], scale: Tensor) -> dict[str, Tensor]:
        """Losses of one layer's logits (N, q) and boxes (N, q, 4), divided by the number of the batch's lesions.

        `scale` (4,) is the padded image's (w, h, w, h), that targets' edge-based boxes are in.
        """
        focal, told, true = [], [], []
        for image, target in enumerate(targets):
            wanted = box_convert(target["boxes"] / scale, "xyxy", "cxcywh")
            matched = self.match(logits[image], boxes[image], wanted)
            if "ignored" in target:
                doubtful = overlaps(boxes[image].detach(), target["ignored"] / scale) & (matched == BACKGROUND)
                matched = torch.where(doubtful, DOUBTFUL, matched)
            focal.append(focal_of(logits[image], matched, alpha=self.alpha, gamma=self.gamma))
            positive = torch.nonzero(matched >= 0)[:, 0]
            told.append(boxes[image, positive])
            true.append(wanted[matched[positive]])
        said, known = torch.cat(told), torch.cat(true)
        total = max(1, len(known))
        apart = F.l1_loss(said, known, reduction="sum")
        overlap = generalized_box_iou_loss(_edges(said), _edges(known), reduction="sum")
        return {
            "classification": self.weights.classification * torch.stack(focal).sum() / total,
            "boxes": self.weights.boxes * apart / total,
            "overlap": self.weights.overlap * overlap / total,
        }

    @torch.no_grad()
    def match(self, logits: Tensor, boxes: Tensor, wanted: Tensor) -> Tensor:
        """Index of each query's lesion (q,), -1 for none, of an image's logits (q,) and boxes (q, 4); see `costs`."""
        matched = torch.full((len(logits),), BACKGROUND, device=logits.device)
        # Of a network that says nan any match will do: its loss is what tells.
        costs = self.costs(logits, boxes, wanted).nan_to_num(nan=0.0)
        queries, lesions = linear_sum_assignment(costs.cpu().numpy())
        matched[torch.as_tensor(queries, device=matched.device)] = torch.as_tensor(lesions, device=matched.device)
        return matched

    def costs(self, logits: Tensor, boxes: Tensor, wanted: Tensor) -> Tensor:
        """What it costs that a query tells a lesion, (q, n): of queries (q, 4) and lesions (n, 4)."""
        p = logits.sigmoid()
        found = self.alpha * (1 - p) ** self.gamma * -(p + LEAST).log()
        missed = (1 - self.alpha) * p**self.gamma * -(1 - p + LEAST).log()
        apart = torch.cdist(boxes, wanted, p=1)
        overlap = generalized_box_iou(_edges(boxes), _edges(wanted))
        weights = self.weights
        return weights.classification * (found - missed)[:, None] + weights.boxes * apart - weights.overlap * overlap


def overlaps(boxes: Tensor, ignored: Tensor) -> Tensor:
    """Which boxes (q, 4) may be of what ignored edge-based boxes (k, 4) hold, (q,) bool."""
    if not len(ignored):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return (box_iou(_edges(boxes), ignored) >= IGNORED_IOU).any(dim=1)


def _edges(boxes: Tensor) -> Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
