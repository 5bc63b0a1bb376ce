"""How far a lesion reaches from its centre: two sizes of parts that a `CentreHead` asks.

Positions are in cells, as in `losses.centres`; features are asked for at the cells of centres alone, where a 1x1x1
convolution over the level would give the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uld.detectors.losses.centres import corners_of, extent_loss, sample_at, triplet_loss


class DirectExtent(nn.Module):
    """Size and offset of the box from the centre's features, as in "Objects as Points".

    Parameters
    ----------
    channels
        Of the features.
    axes
        2 or 3.
    weight
        Of the sizes' error beside the offsets'.
    """

    def __init__(self, channels: int, *, axes: int, weight: float) -> None:
        super().__init__()
        self.size = nn.Linear(channels, axes)
        self.offset = nn.Linear(channels, axes)
        self.weight = weight
        _say_little(self.size, self.offset)

    def losses(self, features: Tensor, cells: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Mean absolute errors of lesions (n, 2k) whose centres lie in cells (n, k) of features (c, *grid)."""
        low, high = boxes.chunk(2, dim=1)
        at_centre = _at(features, cells)
        sizes = F.l1_loss(self.size(at_centre), high - low, reduction="sum")
        offsets = F.l1_loss(self.offset(at_centre), (low + high) / 2 - cells - 0.5, reduction="sum")
        count = max(len(boxes), 1)
        return {"sizes": self.weight * sizes / count, "offsets": offsets / count}

    def decode(self, features: Tensor, cells: Tensor) -> dict[str, Tensor]:
        """Boxes (n, 2k) about the cells (n, k)."""
        at_centre = _at(features, cells)
        centre, half = cells + 0.5 + self.offset(at_centre), self.size(at_centre).clamp(min=0) / 2
        return {"boxes": torch.cat([centre - half, centre + half], dim=1)}


class SurfacePoints(nn.Module):
    """Points on the lesion's surface, predicted at the centre and refined where they lie; the box is what they span.

    Cai et al., "Deep Volumetric Universal Lesion Detection", section 2.2.

    Parameters
    ----------
    channels
        Of the features.
    axes
        2 or 3.
    points, embedding
        How many there are, and channels of what tells their tissue.
    weight
        Of both losses.
    margin
        Of the triplet loss; without one there is no triplet loss: DRP instead of SPR.
    """

    def __init__(
        self, channels: int, *, axes: int, points: int, embedding: int, weight: float, margin: float | None
    ) -> None:
        super().__init__()
        self.axes = axes
        self.points = nn.Linear(channels, points * axes)
        self.refine = nn.Linear(channels, axes)
        self.embed = nn.Linear(channels, embedding) if margin is not None else None
        self.weight = weight
        self.margin = margin
        _say_little(self.points, self.refine)
        # At first they lie about the centre, a cell away: of points that are one, each side moves one alone.
        nn.init.uniform_(self.points.bias, -1, 1)

    def losses(self, features: Tensor, cells: Tensor, boxes: Tensor) -> dict[str, Tensor]:
        """Eqs. 4 and 5 of lesions (n, 2k) whose centres lie in cells (n, k) of features (c, *grid)."""
        first = self._first(features, cells)
        refined = first.detach() + self._offsets(features, first.detach())
        losses = {"points": self.weight * (extent_loss(first, boxes) + extent_loss(refined, boxes))}
        if self.embed is not None and self.margin is not None:
            low, high = boxes.chunk(2, dim=1)
            on_surface, centre, corners = (
                self._embedded(features, positions)
                for positions in (refined, (low + high)[:, None] / 2, corners_of(boxes))
            )
            losses["triplet"] = self.weight * triplet_loss(on_surface, centre[:, 0], corners, margin=self.margin)
        return losses

    def decode(self, features: Tensor, cells: Tensor) -> dict[str, Tensor]:
        """Boxes (n, 2k) about the refined points of cells (n, k), these (n, p, k), and those before them."""
        first = self._first(features, cells)
        refined = first + self._offsets(features, first)
        boxes = torch.cat([refined.amin(dim=1), refined.amax(dim=1)], dim=1)
        return {"boxes": boxes, "points": refined, "first_points": first}

    def _first(self, features: Tensor, cells: Tensor) -> Tensor:
        away: Tensor = self.points(_at(features, cells)).unflatten(1, (-1, self.axes))
        return cells[:, None] + 0.5 + away

    def _offsets(self, features: Tensor, points: Tensor) -> Tensor:
        offsets: Tensor = self.refine(sample_at(features, points.flatten(0, 1)))
        return offsets.view_as(points)

    def _embedded(self, features: Tensor, positions: Tensor) -> Tensor:
        embedded: Tensor = self.embed(sample_at(features, positions.flatten(0, 1)))  # type: ignore[misc]
        return embedded.unflatten(0, positions.shape[:2])


Extent = DirectExtent | SurfacePoints


def _say_little(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.001)
        nn.init.zeros_(layer.bias)


def _at(features: Tensor, cells: Tensor) -> Tensor:
    """Features (n, c) of one level (c, *grid) in cells (n, k), along x first."""
    return features[(slice(None), *cells.T.flip(0))].T
