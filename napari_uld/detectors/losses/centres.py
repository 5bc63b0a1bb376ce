"""What a network learns that finds lesions by their centres, in images and volumes.

Positions are in cells of its level, along (x, y) or (x, y, z), a cell's centre half a cell behind its number.
Cai et al., "Deep Volumetric Universal Lesion Detection using Light-Weight Pseudo 3D Convolution and Surface Point
Regression"; where it says nothing: Zhou et al., "Objects as Points".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# Of a Gaussian's standard deviation in the half of a lesion's side.
SIGMAS = 3.0


def centre_cells(boxes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Numbers of the cells (n, k), along x first, that hold the centres of boxes (n, 2k) in a grid of this shape."""
    low, high = boxes.chunk(2, dim=1)
    last = torch.tensor(shape[::-1], device=boxes.device) - 1
    return torch.minimum(((low + high) / 2).floor().long().clamp(min=0), last)


def heat_map(boxes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Draw a Gaussian about each lesion's centre, of several the highest.

    Its radius along each axis is half of the box's side there, a third of which is its standard deviation; beyond the
    radius it is 0. It is 1 on the centre's cell and nowhere else.

    Parameters
    ----------
    boxes
        (n, 2k) in cells.
    shape
        The grid's, (h, w) or (d, h, w).

    Returns
    -------
    (*shape) float32.
    """
    cells = centre_cells(boxes, shape)
    low, high = boxes.chunk(2, dim=1)
    radii = (high - low) / 2
    within = torch.ones(len(boxes), *shape, device=boxes.device)
    exponent = torch.zeros_like(within)
    for axis, size in enumerate(reversed(shape)):
        view = [len(boxes), *(1 for _ in shape)]
        view[-1 - axis] = size
        away = (torch.arange(size, device=boxes.device) - cells[:, axis, None]).view(view)
        radius = radii[:, axis].view(-1, *(1 for _ in shape))
        exponent = exponent + (away * SIGMAS / radius) ** 2 / 2
        within = within * (away.abs() <= radius)
    drawn = within * torch.exp(-exponent)
    return drawn.amax(dim=0) if len(boxes) else torch.zeros(shape, device=boxes.device)


def with_negatives(heat: Tensor, negatives: Tensor) -> Tensor:
    """Let a map fall below 0 about hard negatives (n, 2k), where no lesion is: the loss weighs them up to 16 times."""
    return torch.where(heat > 0, heat, -heat_map(negatives, tuple(heat.shape)))


def cells_within(boxes: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cells (*shape) bool whose centres lie in any of the boxes (n, 2k)."""
    low, high = boxes.chunk(2, dim=1)
    inside = torch.ones(len(boxes), *shape, dtype=torch.bool, device=boxes.device)
    for axis, size in enumerate(reversed(shape)):
        centres = torch.arange(size, device=boxes.device) + 0.5
        along = (centres > low[:, axis, None]) & (centres < high[:, axis, None])
        view = [len(boxes), *(1 for _ in shape)]
        view[-1 - axis] = size
        inside &= along.view(view)
    return inside.any(dim=0)


def centre_loss(logits: Tensor, heat: Tensor, *, alpha: float, beta: float, left_out: Tensor | None = None) -> Tensor:
    """Focal loss of the paper's eq. 1, divided by the number of lesions, in an image without any by 1.

    Parameters
    ----------
    logits, heat
        Of one shape; `heat` is 1 at centres alone, and may be negative.
    left_out
        Cells (bool) that teach nothing unless they are a lesion's.
    """
    at_centre = heat == 1
    score = logits.sigmoid()
    found = (1 - score) ** alpha * F.logsigmoid(logits)
    missed = (1 - heat) ** beta * score**alpha * F.logsigmoid(-logits)
    if left_out is not None:
        missed = missed * ~(left_out & (heat <= 0))
    return -torch.where(at_centre, found, missed).sum() / at_centre.sum().clamp(min=1)


def extent_loss(points: Tensor, boxes: Tensor) -> Tensor:
    """Half of the paper's eq. 4, of the points as predicted or as refined: the mean over lesions.

    Parameters
    ----------
    points
        (n, p, k) of each lesion.
    boxes
        (n, 2k) in the same unit.
    """
    spanned = torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
    return (spanned - boxes).abs().sum() / max(len(boxes), 1)


def triplet_loss(points: Tensor, centre: Tensor, corners: Tensor, *, margin: float) -> Tensor:
    """The paper's eq. 5: points on the surface look like the lesion's centre, not like its box's corners.

    Its m is not explained. It is taken for the number of triplets: where it is that of the lesions, the sum over 16
    points and 8 corners is all that a network learns (docs/vld.md).

    Parameters
    ----------
    points
        (n, p, c) features at each lesion's points.
    centre
        (n, c) at its centre.
    corners
        (n, q, c) at its box's corners.
    """
    inside = (centre[:, None] - points).norm(dim=-1)
    outside = (centre[:, None] - corners).norm(dim=-1)
    hinge = (inside[:, :, None] - outside[:, None, :] + margin).clamp(min=0)
    return hinge.sum() / max(hinge.numel(), 1)


def corners_of(boxes: Tensor) -> Tensor:
    """The corners (n, 2^k, k) of boxes (n, 2k)."""
    low, high = boxes.chunk(2, dim=1)
    k = low.shape[1]
    sides = torch.cartesian_prod(*[torch.tensor([0, 1], device=boxes.device)] * k).bool()
    return torch.where(sides, high[:, None], low[:, None])


def sample_at(level: Tensor, positions: Tensor) -> Tensor:
    """Features (n, c) of one level (c, *grid) between its cells, at positions (n, k) in cells, clamped to its border.

    The gradient reaches the features and the positions.
    """
    if not len(positions):
        return level.new_zeros(0, len(level))
    size = torch.tensor(level.shape[:0:-1], device=level.device)
    # Half a cell within the border lies the outermost centre.
    held = torch.minimum(positions.clamp(min=0.5), size - 0.5)
    grid = (2 * held / size - 1).view(1, *(1 for _ in size[1:]), -1, len(size))
    return F.grid_sample(level[None], grid.to(level), mode="bilinear", align_corners=False).view(len(level), -1).T
