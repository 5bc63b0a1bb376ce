"""What FCOS's points learn: which lesion each tells, how far its sides are, and how central it is.

Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection". Distances are (left, top, right, bottom), from a
cell's centre to the sides of a box.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.losses.focal import focal_of
from napari_uld.detectors.losses.iou import BACKGROUND, but_ignored
from napari_uld.detectors.parts import Target


class PointAssigner:
    """A cell whose centre lies in a lesion's box is positive on the one level that boxes of that reach are for.

    Of several lesions that claim a cell it tells the smallest (section 3.2 of the paper).

    Parameters
    ----------
    limits
        Between one level and the next: the distance (px) from a centre to the farthest side, which the finer one is for
        up to and with it.
    """

    def __init__(self, limits: Sequence[float]) -> None:
        self.limits = (0.0, *limits, math.inf)

    def match(self, grid: Grid, target: Target) -> Tensor:
        """Index of each cell's lesion, (cells,); -1 for background and -2 for neither.

        Background that an ignored box would claim if it were a lesion is neither.
        """
        return but_ignored(partial(self._claimed, grid), target)

    def _claimed(self, grid: Grid, boxes: Tensor) -> Tensor:
        """Index of the box that each cell tells, -1 where it tells none."""
        centres = grid.centres
        if not len(boxes):
            return torch.full((len(centres),), BACKGROUND, device=centres.device)
        distances = distances_to(boxes[None], centres[:, None])
        limits = torch.tensor(self.limits, device=centres.device)
        level = grid.level_of(torch.arange(len(centres), device=centres.device))
        reach = distances.amax(dim=2)
        fitting = (reach > limits[level, None]) & (reach <= limits[level + 1, None])
        inside = distances.amin(dim=2) > 0
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        smallest = torch.where(inside & fitting, areas, math.inf).min(dim=1)
        return torch.where(smallest.values < math.inf, smallest.indices, BACKGROUND)


def distances_to(boxes: Tensor, points: Tensor) -> Tensor:
    """Distances (..., 4) from points (..., 2) to the sides of boxes (..., 4), below 0 where a point lies beyond one."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def centredness(distances: Tensor) -> Tensor:
    """The paper's eq. 3: 1 in the middle of a box, 0 on its sides; of distances (n, 4), (n,)."""
    beside, above = distances[:, 0::2], distances[:, 1::2]
    ratios = [pair.amin(dim=1) / pair.amax(dim=1) for pair in (beside, above)]
    return (ratios[0] * ratios[1]).sqrt()


def iou_loss(told: Tensor, true: Tensor) -> Tensor:
    """-ln IoU of two boxes about one point, by their distances (n, 4); (n,).

    A pixel more in both areas keeps it finite, as in the paper's code.
    """
    areas = [(part[:, 0] + part[:, 2]) * (part[:, 1] + part[:, 3]) for part in (told, true)]
    shared = torch.minimum(told, true)
    overlap = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
    return -torch.log((overlap + 1) / (areas[0] + areas[1] - overlap + 1))


class PointLoss:
    """Focal loss of all cells; of the positive ones the IoU loss, and how central they are by cross entropy.

    Parameters
    ----------
    assigner
        Which cells are positive.
    alpha, gamma
        Of the focal loss.
    """

    def __init__(self, assigner: PointAssigner, *, alpha: float, gamma: float) -> None:
        self.assigner = assigner
        self.alpha = alpha
        self.gamma = gamma

    def __call__(
        self, grid: Grid, logits: Tensor, distances: Tensor, central: Tensor, targets: list[Target]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses of (N, cells) logits, (N, cells, 4) distances and (N, cells) logits of how central a cell is.

        They are divided by the number of the batch's positive cells; boxes, which weigh by how central their cells are,
        by the sum of these weights. The second value is the number of positive cells, (N, levels).
        """
        focal, told, true, said, counts = [], [], [], [], []
        for image, target in enumerate(targets):
            matched = self.assigner.match(grid, target)
            positive = torch.nonzero(matched >= 0)[:, 0]
            focal.append(focal_of(logits[image], matched, alpha=self.alpha, gamma=self.gamma))
            told.append(distances[image, positive])
            true.append(distances_to(target["boxes"][matched[positive]], grid.centres[positive]))
            said.append(central[image, positive])
            counts.append(grid.per_level(positive))
        per_level = torch.stack(counts)
        total = per_level.sum().clamp(min=1)
        wanted = centredness(torch.cat(true))
        boxes = (wanted * iou_loss(torch.cat(told), torch.cat(true))).sum() / wanted.sum().clamp(min=1e-6)
        centred = F.binary_cross_entropy_with_logits(torch.cat(said), wanted, reduction="sum") / total
        return {"classification": torch.stack(focal).sum() / total, "boxes": boxes, "centredness": centred}, per_level
