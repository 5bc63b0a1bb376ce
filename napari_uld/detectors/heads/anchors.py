"""RetinaNet's head: every anchor of every level is classified and regressed."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid, make_grid
from napari_uld.detectors.heads.prior import expect_little
from napari_uld.detectors.losses.focal import AnchorLoss
from napari_uld.detectors.parts import Calibrate, Detections, GridSize, ImageSizes, Target, Taught

# A box that lies beyond the image is cut off to nothing.
LEAST_SIZE = 1e-3


class AnchorOutput(NamedTuple):
    """Logits (N, A, h, w) and deltas (N, 4A, h, w) of each level."""

    logits: list[Tensor]
    deltas: list[Tensor]


class AnchorHead(nn.Module):
    """Two towers of 3x3 convolutions on every level: one classifies its anchors, the other regresses boxes.

    Parameters
    ----------
    in_channels, channels
        Of the pyramid and of the towers.
    layers
        Hidden convolutions of each tower.
    tower_std
        Standard deviation of the towers' initial weights, or He's.
    anchor_generator
        One size on each level.
    strides
        Input pixels per cell of each level, finest first.
    loss
        What anchors learn.
    candidates, score_threshold, nms, detections
        The most anchors decoded, the least score among them, and what non-maximum suppression leaves.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int,
        layers: int,
        tower_std: float | Literal["kaiming"] = "kaiming",
        anchor_generator: CentredAnchorGenerator,
        strides: tuple[int, ...],
        loss: AnchorLoss,
        candidates: int,
        score_threshold: float,
        nms: float,
        detections: int,
    ) -> None:
        super().__init__()
        anchors = anchor_generator.num_anchors_per_location()[0]
        classify = nn.Conv2d(channels, anchors, 3, padding=1)
        regress = nn.Conv2d(channels, 4 * anchors, 3, padding=1)
        self.classification = nn.Sequential(*_tower(in_channels, channels, layers), classify)
        self.regression = nn.Sequential(*_tower(in_channels, channels, layers), regress)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if tower_std == "kaiming":
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(module.weight, std=tower_std)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(regress.weight, std=0.01)
        expect_little(classify)
        self.anchor_generator = anchor_generator
        self.strides = strides
        self.loss = loss
        self.candidates = candidates
        self.score_threshold = score_threshold
        self.nms = nms
        self.detections = detections
        self._positives: dict[str, list[float]] = {}

    def forward(self, levels: list[Tensor]) -> AnchorOutput:
        """Feature levels, finest first -> logits and deltas."""
        return AnchorOutput(
            [self.classification(level) for level in levels], [self.regression(level) for level in levels]
        )

    def losses(self, raw: AnchorOutput, targets: list[Target]) -> dict[str, Tensor]:
        """Classification and boxes (see `AnchorLoss`)."""
        logits, deltas = _by_anchor(raw.logits, 1)[..., 0], _by_anchor(raw.deltas, 4)
        losses, positives = self.loss(self.grid(self._padded(raw), like=logits), logits, deltas, targets)
        self._positives = {"anchors": positives.float().mean(dim=0).tolist()}
        return losses

    def detect(self, raw: AnchorOutput, sizes: ImageSizes, calibrate: Calibrate | None = None) -> Detections:
        """Decode, calibrate and suppress the anchors of each image, best first."""
        logits, deltas = _by_anchor(raw.logits, 1)[..., 0], _by_anchor(raw.deltas, 4)
        grid = self.grid(self._padded(raw), like=logits)
        return [
            self._detect_one(number, grid, logits[number], deltas[number], size, calibrate)
            for number, size in enumerate(sizes)
        ]

    def diagnostics(self) -> dict[str, list[float]]:
        """Positive anchors an image on each level in the last training batch."""
        return self._positives

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """The anchors that are positive by IoU."""
        grid = self.grid(size)
        matched = self.loss.assigner.match(grid, target)
        anchors = torch.nonzero(matched >= 0)[:, 0]
        labels = torch.ones(len(anchors))
        return {"iou": Taught(grid.anchors[anchors], labels, matched[anchors], grid.level_of(anchors))}

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How many cells there are, and anchors on each."""
        return self.grid(size).grid_size

    def grid(self, size: tuple[int, ...], like: Tensor | None = None) -> Grid:
        """The anchors of an image of that padded size."""
        return make_grid(self.anchor_generator, self.strides, (size[0], size[1]), like=like)

    def _padded(self, raw: AnchorOutput) -> tuple[int, int]:
        height, width = raw.logits[0].shape[-2:]
        return height * self.strides[0], width * self.strides[0]

    def _detect_one(
        self,
        number: int,
        grid: Grid,
        logits: Tensor,
        deltas: Tensor,
        size: tuple[int, ...],
        calibrate: Calibrate | None,
    ) -> dict[str, Tensor]:
        scores = logits.sigmoid()
        likely = torch.nonzero(scores > self.score_threshold)[:, 0]
        likely = likely[scores[likely].topk(min(self.candidates, len(likely))).indices]
        scores = scores[likely]
        boxes = self.loss.coder.decode_single(deltas[likely], grid.anchors[likely])
        boxes = clip_boxes_to_image(boxes, (size[0], size[1]))
        large = remove_small_boxes(boxes, LEAST_SIZE)
        boxes, scores = boxes[large], scores[large]
        if calibrate is not None:
            scores = calibrate(number, boxes, scores)
        labels = torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)
        kept = batched_nms(boxes, scores, torch.zeros_like(labels), self.nms)[: self.detections]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def _by_anchor(levels: list[Tensor], values: int) -> Tensor:
    """Levels (N, A * values, h, w) -> (N, all levels' anchors, values), all anchors of a cell together."""
    rows = [level.unflatten(1, (-1, values)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in levels]
    # Boxes are computed in single precision even where features are not: half has steps of .25 px.
    return torch.cat(rows, dim=1).float()


def _tower(channels: int, hidden: int, layers: int) -> list[nn.Module]:
    """3x3 convolutions, a ReLU behind each."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(inplace=True)]
        channels = hidden
    return parts
