"""A dense head that finds lesions by a heat map of their centres, in images and in volumes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_uld.detectors.heads.extents import Extent
from napari_uld.detectors.heads.prior import expect_little
from napari_uld.detectors.losses.centres import (
    cells_within,
    centre_cells,
    centre_loss,
    heat_map,
    with_negatives,
)
from napari_uld.detectors.parts import PEAKS, Calibrate, Detections, GridSize, ImageSizes, Target, Taught

# A peak is the highest of so many cells along each axis.
PEAK = 3


class CentreOutput(NamedTuple):
    """Logits of the heat map (N, 1, *grid), and the features that extents are told from (N, c, *grid)."""

    logits: list[Tensor]
    features: Tensor


class CentreHead(nn.Module):
    """A hidden convolution and a heat map of centres; another one, by whose features at a centre the box is told.

    Cai et al., "Deep Volumetric Universal Lesion Detection", sections 2.1 and 2.2.

    Parameters
    ----------
    in_channels, channels
        Of the level and of the hidden convolutions.
    convolution
        Makes a hidden convolution of so many channels, and outputs.
    extent
        Tells boxes, from `channels` features.
    cell
        Input pixels of a cell along each axis, x first.
    alpha, beta
        Of the focal loss.
    score_threshold, detections
        The least score of a detection, and the most of them.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int,
        convolution: Callable[[int, int], nn.Module],
        extent: Extent,
        cell: tuple[int, ...],
        alpha: float,
        beta: float,
        score_threshold: float,
        detections: int,
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential(convolution(in_channels, channels), nn.ReLU(inplace=True))
        one = nn.Conv3d if len(cell) == 3 else nn.Conv2d
        self.heat = one(channels, 1, 1)
        expect_little(self.heat)
        self.context = nn.Sequential(convolution(in_channels, channels), nn.ReLU(inplace=True))
        self.extent = extent
        self.cell = cell
        self.alpha, self.beta = alpha, beta
        self.score_threshold = score_threshold
        self.detections = detections
        self._lesions = 0.0

    def forward(self, levels: list[Tensor]) -> CentreOutput:
        """One feature level -> logits and features."""
        (level,) = levels
        return CentreOutput([self.heat(self.hidden(level))], self.context(level))

    def losses(self, raw: CentreOutput, targets: list[Target]) -> dict[str, Tensor]:
        """The heat map's, and the extent's: means over the images."""
        (logits,) = raw.logits
        parts: list[dict[str, Tensor]] = []
        for image_logits, features, target in zip(logits.float(), raw.features.float(), targets, strict=True):
            shape = tuple(features.shape[1:])
            scale = self._scale(target["boxes"])
            boxes = target["boxes"] / scale
            heat = heat_map(boxes, shape)
            if "negatives" in target:
                heat = with_negatives(heat, target["negatives"] / scale)
            ignored = cells_within(target["ignored"] / scale, shape) if "ignored" in target else None
            centres = centre_loss(image_logits[0], heat, alpha=self.alpha, beta=self.beta, left_out=ignored)
            parts.append({"centres": centres} | self.extent.losses(features, centre_cells(boxes, shape), boxes))
        self._lesions = sum(len(target["boxes"]) for target in targets) / len(targets)
        return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}

    def detect(self, raw: CentreOutput, sizes: ImageSizes, calibrate: Calibrate | None = None) -> Detections:
        """The peaks of each image, best first, with what their extents tell, in its own pixels."""
        (logits,) = raw.logits
        return [
            self._detect_one(image_logits[0].sigmoid(), features, size)
            for image_logits, features, size in zip(logits.float(), raw.features.float(), sizes, strict=True)
        ]

    def diagnostics(self) -> dict[str, list[float]]:
        """Centres an image in the last training batch."""
        return {"centres": [self._lesions]}

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How many cells there are; each makes one guess."""
        cells = 1
        for side, cell in zip(reversed(size), self.cell, strict=True):
            cells *= -(-side // cell)
        return GridSize(cells, 1)

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """The cells of the lesions' centres."""
        shape = tuple(-(-side // cell) for side, cell in zip(size, reversed(self.cell), strict=True))
        scale = self._scale(target["boxes"])
        cells = centre_cells(target["boxes"] / scale, shape)
        rows = torch.arange(len(cells))
        boxes = torch.cat([cells, cells + 1], dim=1) * scale
        return {"centres": Taught(boxes, torch.ones(len(rows)), rows, torch.zeros_like(rows))}

    def _scale(self, like: Tensor) -> Tensor:
        return torch.tensor(self.cell * 2, dtype=torch.float32, device=like.device)

    def _detect_one(self, scores: Tensor, features: Tensor, size: tuple[int, ...]) -> dict[str, Tensor]:
        pool = F.max_pool3d if scores.dim() == 3 else F.max_pool2d
        highest = pool(scores[None], PEAK, stride=1, padding=PEAK // 2)[0]
        peaks = torch.nonzero((scores == highest) & (scores > self.score_threshold))
        at_peaks = scores[tuple(peaks.T)]
        best = at_peaks.topk(min(self.detections, len(peaks))).indices
        cells = peaks[best].flip(1)
        told = self.extent.decode(features, cells)
        scale = self._scale(told["boxes"])
        # Boxes end where the image does, but not along z: a volume may be a part of a scan. Points may lie beyond.
        open_end = (math.inf,) * (len(size) - 2)
        low, high = (
            torch.tensor(edge * 2, device=scale.device)
            for edge in ((0.0, 0.0, *(-end for end in open_end)), (*size[:-3:-1], *open_end))
        )
        boxes = (told.pop("boxes") * scale).clamp(low, high)
        labels = torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)
        moved = {name: points * scale[: len(self.cell)] for name, points in told.items()}
        places = (cells + 0.5) * scale[: len(self.cell)]
        return {"boxes": boxes, "scores": at_peaks[best], "labels": labels, PEAKS: places} | moved
