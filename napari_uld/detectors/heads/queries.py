"""Deformable DETR's head: queries that ask the whole image, each tells one lesion or none."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, clip_boxes_to_image

from napari_uld.detectors.heads.deformable import (
    DecoderLayer,
    DeformableAttention,
    EncoderLayer,
    Memory,
    cell_places,
    sine_code,
)
from napari_uld.detectors.heads.prior import expect_little
from napari_uld.detectors.losses.queries import QueryLoss
from napari_uld.detectors.parts import PEAKS, Calibrate, Detections, GridSize, ImageSizes, Target, Taught

# What is said of a cell that no query's box lies about: surely nothing.
NOTHING = -20.0
# The logarithm of the odds is taken of shares so far from 0 and 1 at least.
MARGIN = 1e-5


class QueryOutput(NamedTuple):
    """What queries say.

    Parameters
    ----------
    maps
        (N, 1, h, w) of each level, to look at: on the finest one the logit of the surest query whose box lies about a
        cell, elsewhere nothing.
    logits, boxes
        (N, q) and (N, q, 4) of each decoder layer, the last one last; boxes are (centre x, centre y, width, height) in
        shares of the padded image.
    reference
        (N, q, 2) points that queries look about.
    size
        (height, width) of the padded image.
    """

    maps: list[Tensor]
    logits: list[Tensor]
    boxes: list[Tensor]
    reference: Tensor
    size: tuple[int, int]


class QueryHead(nn.Module):
    """A deformable transformer, without iterative refinement and with one stage, as in the paper's plain row.

    Padding is seen like the rest of an image: images of a batch are padded to one size as everywhere here.

    Parameters
    ----------
    channels
        Of the levels, and everywhere within.
    strides
        Input pixels per cell of each level, finest first.
    queries, layers
        How many there are, and the encoder's and the decoder's layers.
    attention
        Makes a layer's attention to the levels.
    hidden, dropout
        Of the transformer's layers.
    loss
        What queries learn, on every decoder layer.
    score_threshold, detections
        The least score of a detection, and the most of them.
    """

    def __init__(
        self,
        channels: int,
        *,
        strides: tuple[int, ...],
        queries: int,
        layers: tuple[int, int],
        attention: Callable[[], DeformableAttention],
        hidden: int,
        dropout: float,
        loss: QueryLoss,
        score_threshold: float,
        detections: int,
    ) -> None:
        super().__init__()
        self.strides = strides
        self.queries = nn.Embedding(queries, 2 * channels)
        self.of_level = nn.Embedding(len(strides), channels)
        encoder, decoder = layers
        self.encoder = nn.ModuleList(EncoderLayer(attention(), channels, hidden, dropout) for _ in range(encoder))
        self.decoder = nn.ModuleList(DecoderLayer(attention(), channels, hidden, dropout) for _ in range(decoder))
        self.reference_points = nn.Linear(channels, 2)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)
        self.classify = nn.Linear(channels, 1)
        expect_little(self.classify)
        last = nn.Linear(channels, 4)
        self.tell = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), last
        )
        # At first boxes lie about their reference points, an eighth of the image wide.
        nn.init.normal_(last.weight, std=0.001)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([0.0, 0.0, -2.0, -2.0], device="cpu"))
        self.loss = loss
        self.score_threshold = score_threshold
        self.detections = detections
        self._lesions = 0.0

    def forward(self, levels: list[Tensor]) -> QueryOutput:
        """Feature levels, finest first -> what queries say after each layer."""
        shapes = tuple((int(level.shape[-2]), int(level.shape[-1])) for level in levels)
        memory = self._encode(levels, shapes)
        every = torch.arange(self.queries.num_embeddings, device=levels[0].device)
        code, queries = self.queries(every).expand(len(levels[0]), -1, -1).chunk(2, dim=2)
        # Half precision would round positions to pixels.
        with full_precision(code.device):
            reference = self.reference_points(code.float()).sigmoid()
        logits, boxes = [], []
        for layer in self.decoder:
            queries = layer(queries, code, reference, memory)
            logits.append(self.classify(queries)[..., 0].float())
            boxes.append(self._boxes(queries, reference))
        finest = draw_queries(logits[-1], boxes[-1], shapes[0])
        maps = [finest, *(torch.full_like(level[:, :1], NOTHING) for level in levels[1:])]
        size = (shapes[0][0] * self.strides[0], shapes[0][1] * self.strides[0])
        return QueryOutput(maps, logits, boxes, reference, size)

    def _encode(self, levels: list[Tensor], shapes: tuple[tuple[int, int], ...]) -> Memory:
        places = cell_places(shapes, levels[0].device)
        of_level = [one.expand(h * w, -1) for one, (h, w) in zip(self.of_level.weight, shapes, strict=True)]
        code = (sine_code(places, levels[0].shape[1]) + torch.cat(of_level))[None]
        memory = Memory(torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1), shapes)
        reference = places.expand(len(levels[0]), -1, -1)
        for layer in self.encoder:
            memory = layer(memory, code, reference)
        return memory

    def _boxes(self, queries: Tensor, reference: Tensor) -> Tensor:
        with full_precision(queries.device):
            told: Tensor = self.tell(queries.float())
            moved = told[..., :2] + reference.logit(eps=MARGIN)
            return torch.cat([moved, told[..., 2:]], dim=-1).sigmoid()

    def losses(self, raw: QueryOutput, targets: list[Target]) -> dict[str, Tensor]:
        """Those of `QueryLoss`, each the sum over the decoder's layers."""
        scale = self._scale(raw)
        layers = [self.loss(*said, targets, scale) for said in zip(raw.logits, raw.boxes, strict=True)]
        self._lesions = sum(len(target["boxes"]) for target in targets) / len(targets)
        return {name: torch.stack([layer[name] for layer in layers]).sum() for name in layers[0]}

    def detect(self, raw: QueryOutput, sizes: ImageSizes, calibrate: Calibrate | None = None) -> Detections:
        """The surest queries of each image, best first.

        None is suppressed: no two are taught the same lesion.
        """
        scale, detections = self._scale(raw), []
        for number, size in enumerate(sizes):
            scores = raw.logits[-1][number].sigmoid()
            boxes = box_convert(raw.boxes[-1][number], "cxcywh", "xyxy") * scale
            boxes = clip_boxes_to_image(boxes, (size[0], size[1]))
            if calibrate is not None:
                scores = calibrate(number, boxes, scores)
            # What lies in the padding alone is clipped to nothing.
            seen = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
            (kept,) = torch.nonzero((scores > self.score_threshold) & seen, as_tuple=True)
            best = kept[scores[kept].topk(min(self.detections, len(kept))).indices]
            labels = torch.ones(len(best), dtype=torch.int64, device=best.device)
            places = raw.reference[number, best] * scale[:2]
            detections.append({"boxes": boxes[best], "scores": scores[best], "labels": labels, PEAKS: places})
        return detections

    def diagnostics(self) -> dict[str, list[float]]:
        """Queries an image that told a lesion in the last training batch: one each."""
        return {"queries": [self._lesions]}

    def grid_size(self, size: tuple[int, ...]) -> GridSize:
        """How many queries there are, whatever the image's size; each makes one guess."""
        return GridSize(self.queries.num_embeddings, 1)

    def taught(self, target: Target, size: tuple[int, ...]) -> dict[str, Taught]:
        """The lesions themselves: one query is taught each, and which one depends on what all of them say."""
        lesions = torch.arange(len(target["boxes"]))
        return {"queries": Taught(target["boxes"], torch.ones(len(lesions)), lesions, torch.zeros_like(lesions))}

    def _scale(self, raw: QueryOutput) -> Tensor:
        height, width = raw.size
        return torch.tensor([width, height] * 2, dtype=torch.float32, device=raw.reference.device)


def draw_queries(logits: Tensor, boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Map (N, 1, h, w) of the surest query whose box (N, q, 4) lies about a cell, by its logit (N, q)."""
    height, width = shape
    columns, rows = ((boxes[..., axis] * side).long().clamp(0, side - 1) for axis, side in enumerate((width, height)))
    drawn = torch.full((len(logits), height * width), NOTHING, device=logits.device)
    drawn = drawn.scatter_reduce(1, rows * width + columns, logits.detach(), "amax")
    return drawn.view(-1, 1, height, width)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Single precision whatever is computed around it; a device without values knows no other."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
