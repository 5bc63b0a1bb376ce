"""What heads have in common that guess on every cell of every level of a pyramid: RetinaNet's and FCOS's."""

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid, make_grid
from napari_uld.detectors.losses.focal import Assigner
from napari_uld.detectors.parts import Calibrate, Detections, GridSize, ImageSizes, Target, Taught

# A box that lies beyond the image is cut off to nothing.
LEAST_SIZE = 1e-3
# Of a group norm, where the channels can be divided so.
GROUPS = 32


class GridLoss(Protocol):
    """What a head's guesses learn."""

    @property
    def assigner(self) -> Assigner:
        """Says which guesses are positive."""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Tensor], Tensor]:
        """(grid, *what `GridHead.flat` gives, targets) -> losses by name, and the positive guesses (N, levels)."""


class GridSettings(TypedDict):
    """What every `GridHead` is told beside its loss.

    Parameters
    ----------
    anchor_generator
        The box of each guess, or what stands for it.
    strides
        Input pixels per cell of each level, finest first.
    candidates, score_threshold, nms, detections
        The most guesses decoded, the least score among them, and what non-maximum suppression leaves.
    """

    anchor_generator: CentredAnchorGenerator
    strides: tuple[int, ...]
    candidates: int
    score_threshold: float
    nms: float
    detections: int


class GridHead(nn.Module, ABC):
    """Keeps what `DenseHead` promises; what its guesses are made of, subclasses say.

    Parameters
    ----------
    loss
        What guesses learn.
    settings
        See `GridSettings`.

    Attributes
    ----------
    rule, counted
        What makes guesses positive, and what they are called in the log.
    """

    rule: str
    counted: str

    def __init__(self, *, loss: GridLoss, **settings: Unpack[GridSettings]) -> None:
        super().__init__()
        self.loss = loss
        self.anchor_generator = settings["anchor_generator"]
        self.strides = settings["strides"]
        self.candidates = settings["candidates"]
        self.score_threshold = settings["score_threshold"]
        self.nms = settings["nms"]
        self.detections = settings["detections"]
        self._positives: dict[str, list[float]] = {}

    @abstractmethod
    def flat(self, raw: Any) -> tuple[Tensor, ...]:
        """Logits (N, guesses) of all levels, and what else is said of each guess, (N, guesses, ...)."""

    @abstractmethod
    def decode(self, grid: Grid, likely: Tensor, scores: Tensor, said: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Boxes (k, 4) and scores (k,) of the guesses `likely` (k,) of one image, from what else is said of them."""

    def losses(self, raw: Any, targets: list[Target]) -> dict[str, Tensor]:
        """Those of its loss."""
        flat = self.flat(raw)
        losses, positives = self.loss(self.grid(self._padded(raw), like=flat[0]), *flat, targets)
        self._positives = {self.counted: positives.float().mean(dim=0).tolist()}
        return losses

    def detect(self, raw: Any, sizes: ImageSizes, calibrate: Calibrate | None = None) -> Detections:
        """Decode, calibrate and suppress the guesses of each image, best first."""
        logits, *said = self.flat(raw)
        grid = self.grid(self._padded(raw), like=logits)
        return [
            self._detect_one(number, grid, logits[number], [part[number] for part in said], size, calibrate)
            for number, size in enumerate(sizes)
        ]

    def diagnostics(self) -> dict[str, list[float]]:
        """Positive guesses an image on each level in the last training batch."""
        return self._positives

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """The guesses that its rule makes positive."""
        grid = self.grid(size)
        matched = self.loss.assigner.match(grid, target)
        guesses = torch.nonzero(matched >= 0)[:, 0]
        labels = torch.ones(len(guesses))
        return {self.rule: Taught(grid.anchors[guesses], labels, matched[guesses], grid.level_of(guesses))}

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How many cells there are, and guesses on each."""
        return self.grid(size).grid_size

    def grid(self, size: tuple[int, ...], like: Tensor | None = None) -> Grid:
        """The guesses' boxes in an image of that padded size."""
        return make_grid(self.anchor_generator, self.strides, (size[0], size[1]), like=like)

    def _padded(self, raw: Any) -> tuple[int, int]:
        height, width = raw[0][0].shape[-2:]
        return height * self.strides[0], width * self.strides[0]

    def _detect_one(
        self,
        number: int,
        grid: Grid,
        logits: Tensor,
        said: list[Tensor],
        size: tuple[int, ...],
        calibrate: Calibrate | None,
    ) -> dict[str, Tensor]:
        scores = logits.sigmoid()
        likely = torch.nonzero(scores > self.score_threshold)[:, 0]
        likely = likely[scores[likely].topk(min(self.candidates, len(likely))).indices]
        boxes, scores = self.decode(grid, likely, scores[likely], tuple(part[likely] for part in said))
        boxes = clip_boxes_to_image(boxes, (size[0], size[1]))
        large = remove_small_boxes(boxes, LEAST_SIZE)
        boxes, scores = boxes[large], scores[large]
        if calibrate is not None:
            scores = calibrate(number, boxes, scores)
        labels = torch.ones(len(boxes), dtype=torch.int64, device=boxes.device)
        kept = batched_nms(boxes, scores, torch.zeros_like(labels), self.nms)[: self.detections]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def by_guess(levels: list[Tensor], values: int) -> Tensor:
    """Levels (N, A * values, h, w) -> (N, all levels' guesses, values), all guesses of a cell together."""
    rows = [level.unflatten(1, (-1, values)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in levels]
    # Boxes are computed in single precision even where features are not: half has steps of .25 px.
    return torch.cat(rows, dim=1).float()


def tower(channels: int, hidden: int, layers: int, *, normed: bool = False) -> list[nn.Module]:
    """3x3 convolutions, a ReLU behind each, before it a group norm or none."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts.append(nn.Conv2d(channels, hidden, 3, padding=1))
        parts += [nn.GroupNorm(math.gcd(GROUPS, hidden), hidden)] if normed else []
        parts.append(nn.ReLU(inplace=True))
        channels = hidden
    return parts
