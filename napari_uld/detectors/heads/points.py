"""FCOS's head: every cell of every level says whether its centre lies in a lesion, and how far the sides are."""

from typing import NamedTuple, Unpack

import torch
from torch import Tensor, nn

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid
from napari_uld.detectors.heads.grid_head import GridHead, GridSettings, by_guess, tower
from napari_uld.detectors.heads.prior import expect_little
from napari_uld.detectors.losses.points import PointLoss


class PointOutput(NamedTuple):
    """Logits (N, 1, h, w), distances (N, 4, h, w) in px, and how central a cell is (N, 1, h, w), of each level."""

    logits: list[Tensor]
    distances: list[Tensor]
    central: list[Tensor]


class PointHead(GridHead):
    """Two towers of 3x3 convolutions with group norm on every level, as in FCOS's paper.

    One says whether a cell tells a lesion, and how central it is there; the other the distances to the lesion's sides,
    exp(s x) cells with a scale s of each level. In cells, where the paper has pixels, an untrained head begins
    everywhere at the size that is looked for there. A score is the root of both probabilities' product.

    Parameters
    ----------
    in_channels, channels
        Of the pyramid and of the towers.
    layers
        Hidden convolutions of each tower.
    loss
        What cells learn.
    settings
        As in `GridHead`; its generator makes a box as large as a cell (see `cell_boxes`).
    """

    rule, counted = "points", "cells"

    def __init__(
        self, in_channels: int, *, channels: int, layers: int, loss: PointLoss, **settings: Unpack[GridSettings]
    ) -> None:
        super().__init__(loss=loss, **settings)
        self.classification = nn.Sequential(*tower(in_channels, channels, layers, normed=True))
        self.regression = nn.Sequential(*tower(in_channels, channels, layers, normed=True))
        self.classify = nn.Conv2d(channels, 1, 3, padding=1)
        self.centre = nn.Conv2d(channels, 1, 3, padding=1)
        self.regress = nn.Conv2d(channels, 4, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(self.strides)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        expect_little(self.classify)

    def forward(self, levels: list[Tensor]) -> PointOutput:
        """Feature levels, finest first -> what is said of each cell."""
        raw = PointOutput([], [], [])
        for level, scale, stride in zip(levels, self.scales, self.strides, strict=True):
            classified = self.classification(level)
            raw.logits.append(self.classify(classified))
            raw.central.append(self.centre(classified))
            raw.distances.append((scale * self.regress(self.regression(level)).float()).exp() * stride)
        return raw

    def flat(self, raw: PointOutput) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, cells), distances (N, cells, 4), and how central cells are (N, cells)."""
        return by_guess(raw.logits, 1)[..., 0], by_guess(raw.distances, 4), by_guess(raw.central, 1)[..., 0]

    def decode(self, grid: Grid, likely: Tensor, scores: Tensor, said: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes about their cells' centres; a score is worth more where its cell is central."""
        distances, central = said
        centres = grid.centres[likely]
        boxes = torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], dim=1)
        return boxes, (scores * central.sigmoid()).sqrt()


def cell_boxes(strides: tuple[int, ...]) -> CentredAnchorGenerator:
    """Makes one box of each cell, as large as it is."""
    return CentredAnchorGenerator(
        tuple((float(stride),) for stride in strides), ((1.0,),) * len(strides), rounded=False
    )
