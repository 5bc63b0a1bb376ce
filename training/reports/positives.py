"""How many anchors are positive for each lesion box, by IoU and by bounding map.

The supplement of the BMC paper (see `napari_uld.detectors.losses.bounding_map`) counts the anchors that a
box matches at IoU >= .7 and finds no more than four for over 70% of the boxes. Here the same is
counted for it, for BM's lower threshold and for BMC's cells, at strides 4 and 8 of an image 512
pixels long, with the anchors that Faster R-CNN has by default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid, make_grid
from napari_uld.detectors.losses.bounding_map import (
    BM_POSITIVE_IOU,
    EPSILON,
    BmcObjectness,
    BmcRegression,
    cell_values,
)
from napari_uld.detectors.losses.iou import BACKGROUND, IouAssigner
from napari_uld.detectors.parts import Target
from napari_uld.detectors.specs.family import TargetMaps
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.targets import make_target
from napari_uld.errors import DataError
from napari_uld.lesions.boxes import to_edges
from napari_uld.masks.bounding_map import AREA_UNIT
from napari_uld.progress import Progress, Work

from ..data.coco import CocoImage

STRIDES = (4, 8)
IMAGE_SIDE = 512
# What the paper calls few.
FEW = 4
BINS = {
    "0": (0, 0),
    "1": (1, 1),
    "2": (2, 2),
    "3": (3, 3),
    "4": (4, 4),
    "5-8": (5, 8),
    "9-16": (9, 16),
    "17-32": (17, 32),
    ">32": (33, np.inf),
}
# Where the IoU is at least .3, the centre of an anchor 136 px long lies at most .2 * 136 px beside the box;
# a bounding map reaches a cell and a half, 12 px, beyond it.
MARGIN = 32

# By IoU alone; then with the forced match, which makes a box's best anchors positive whatever their IoU.
RULES = ("IoU .7", "IoU .7 + best", "BM .5", "BM .5 + best", "BMC objectness", "BMC regression")
PLOTTED = ("IoU .7", "BM .5", "BMC regression")


@dataclass(frozen=True, eq=False)
class RuleCount:
    """Positive anchors by one rule at one stride.

    Parameters
    ----------
    rule
        One of `RULES`.
    stride
        Input pixels per cell.
    per_box, per_image
        (boxes,) and (images,) positive anchors.
    negatives
        (images,) negative anchors, before any are drawn; those in between are neither.
    """

    rule: str
    stride: int
    per_box: np.ndarray
    per_image: np.ndarray
    negatives: np.ndarray

    def of_boxes(self) -> dict[str, Any]:
        """Plain numbers of the boxes, for a table's row and for JSON."""
        return self._row(self.per_box)

    def of_images(self) -> dict[str, Any]:
        """Plain numbers of the images, for a table's row and for JSON."""
        positives = int(self.per_image.sum())
        ratio = round(int(self.negatives.sum()) / positives, 1) if positives else None
        return {**self._row(self.per_image), "negatives a positive": ratio}

    def _row(self, counts: np.ndarray) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "rule": self.rule,
            f"<= {FEW}, %": share(counts <= FEW),
            "median": float(np.median(counts)),
            "mean": round(float(counts.mean()), 2),
            "most": int(counts.max()),
        }

    def histogram(self) -> dict[str, float]:
        """Share of the boxes, in %, in each of `BINS`."""
        return binned(self.per_box)


@dataclass(frozen=True, eq=False)
class CellCount:
    """Cells of an image whose bounding map is high enough, by how the map was resized.

    Parameters
    ----------
    stride
        Input pixels per cell.
    resizing
        "antialiased" or "plain bilinear".
    half, quarter
        (images,) cells with a value of at least .5, and of at least .25.
    """

    stride: int
    resizing: str
    half: np.ndarray
    quarter: np.ndarray

    def summary(self) -> dict[str, Any]:
        """Plain numbers, for a table's row and for JSON."""
        return {
            "stride": self.stride,
            "resizing": self.resizing,
            "cells >= .5, mean": round(float(self.half.mean()), 2),
            "cells >= .5, median": float(np.median(self.half)),
            "cells >= .25, mean": round(float(self.quarter.mean()), 2),
            "cells >= .25, median": float(np.median(self.quarter)),
        }


@dataclass(frozen=True, eq=False)
class Positives:
    """The whole report.

    Parameters
    ----------
    images, boxes
        How many were counted: images with a box, boxes that are not possibly noisy.
    rules
        Stride by stride, rule by rule.
    cells
        Stride by stride, antialiased and plain.
    """

    images: int
    boxes: int
    rules: tuple[RuleCount, ...]
    cells: tuple[CellCount, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "images": self.images,
            "boxes": self.boxes,
            "positives_a_box": [{**count.of_boxes(), "histogram, %": count.histogram()} for count in self.rules],
            "positives_an_image": [count.of_images() for count in self.rules],
            "map_cells_an_image": [count.summary() for count in self.cells],
        }


def count_positives(images: Sequence[CocoImage]) -> Work[Positives]:
    """Count positive anchors for all boxes that are not possibly noisy.

    Raises
    ------
    DataError
        If there is no such box.
    """
    used = [image for image in images if (~image.noisy).any()]
    if not used:
        raise DataError("The file holds no box that is not possibly noisy: there is nothing to count")
    anchors: dict[tuple[str, int], list[tuple[np.ndarray, int]]] = {}
    cells: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for done, image in enumerate(used):
        yield Progress(done, len(used), "Counting anchors")
        boxes, shape = at_512(image)
        cut, window = neighbourhood(boxes, shape)
        target = bmc_target(cut, window)
        for stride in STRIDES:
            grid = anchor_grid(window, stride)
            elsewhere = grid.per_cell * (shape[0] * shape[1] - window[0] * window[1]) // stride**2
            for rule, (per_box, negatives) in count_anchors(grid, target).items():
                anchors.setdefault((rule, stride), []).append((per_box, negatives + elsewhere))
            for resizing, counts in count_cells(target["bm"], grid.levels[0]).items():
                cells.setdefault((resizing, stride), []).append(counts)
    yield Progress(len(used), len(used), "Counted anchors")
    return Positives(
        images=len(used),
        boxes=sum(int((~image.noisy).sum()) for image in used),
        rules=tuple(_rule_count(rule, stride, anchors[rule, stride]) for stride in STRIDES for rule in RULES),
        cells=tuple(CellCount(stride, how, *np.asarray(counts).T) for (how, stride), counts in cells.items()),
    )


def _rule_count(rule: str, stride: int, images: list[tuple[np.ndarray, int]]) -> RuleCount:
    """Join what was counted image by image."""
    per_box = [positives for positives, _ in images]
    return RuleCount(
        rule=rule,
        stride=stride,
        per_box=np.concatenate(per_box),
        per_image=np.asarray([of_image.sum() for of_image in per_box]),
        negatives=np.asarray([negatives for _, negatives in images]),
    )


def at_512(image: CocoImage) -> tuple[np.ndarray, tuple[int, int]]:
    """Scale an image's boxes to a long side of 512 pixels, without possibly noisy ones.

    Returns
    -------
    boxes, shape
        (n, 4) edge-based boxes, and the input's (height, width), padded to whole cells at every stride.
    """
    scale = IMAGE_SIDE / max(image.width, image.height)
    step = max(STRIDES)
    height, width = (-(-round(side * scale) // step) * step for side in (image.height, image.width))
    boxes = to_edges(image.boxes[~image.noisy]) * scale
    return np.clip(boxes, 0, [width, height, width, height]), (height, width)


def neighbourhood(boxes: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut the part of an image that holds every anchor and cell its edge-based boxes could matter to.

    Returns
    -------
    boxes, shape
        The boxes in the cut-out, and its (height, width): whole cells at every stride, none of them moved.
    """
    step = max(STRIDES)
    limit = np.asarray([shape[1], shape[0]])
    low = np.clip(np.floor((boxes[:, :2].min(axis=0) - MARGIN) / step) * step, 0, limit)
    high = np.clip(np.ceil((boxes[:, 2:].max(axis=0) + MARGIN) / step) * step, 0, limit)
    width, height = (high - low).astype(int).tolist()
    return boxes - np.tile(low, 2), (height, width)


def bmc_target(boxes: np.ndarray, shape: tuple[int, int]) -> Target:
    """Make what BMC learns from: edge-based boxes (n, 4) and their maps of this (height, width)."""
    maps = TargetMaps(frozenset({"bm", "lesion_bms"}))
    return make_target(boxes, np.ones(len(boxes)), None, shape, maps=maps, pixel_area=AREA_UNIT)


def anchor_grid(shape: tuple[int, int], stride: int) -> Grid:
    """Place a one-level detector's anchors on an input of this (height, width)."""
    detector = published()["detector"]
    generator = CentredAnchorGenerator((detector["anchor_sizes"],), (detector["anchor_ratios"],))
    return make_grid(generator, (stride,), shape)


@cache
def published() -> dict[str, Any]:
    """The numbers that the bounding-map paper's Faster R-CNN is published with."""
    return load_recipe("faster_rcnn_bmc").model_dump()


def count_anchors(grid: Grid, target: Target) -> dict[str, tuple[np.ndarray, int]]:
    """Count each box's positive anchors (n,), and the image's negative ones, by every one of `RULES`.

    For BMC's regression, which has no negatives, the objectness' are given.
    """
    usual, negative = published()["supervision"]["rpn_iou"]
    n = len(target["boxes"])
    counts = {}
    for rule, positive in (("IoU .7", usual), ("BM .5", BM_POSITIVE_IOU)):
        for name, forced in ((f"{rule} + best", True), (rule, False)):
            assigner = IouAssigner(positive=positive, negative=negative, forced=forced)
            counts[name] = _counted(assigner.match(grid, target), n)
    foreground, owners = _bmc_cells(grid, target)
    negatives = grid.per_cell * (len(foreground) - int(foreground.sum()))
    nearest = cell_values(target["lesion_bms"], grid.levels[0]).argmax(dim=0)
    counts["BMC objectness"] = (grid.per_cell * per_index(nearest[foreground], n), negatives)
    counts["BMC regression"] = (grid.per_cell * per_index(owners, n), negatives)
    return counts


def _counted(matched: Tensor, n: int) -> tuple[np.ndarray, int]:
    """Count the anchors of each box (n,), and those of the background, in what `IouAssigner` gives."""
    return per_index(matched, n), int((matched == BACKGROUND).sum())


def _bmc_cells(grid: Grid, target: Target) -> tuple[Tensor, Tensor]:
    """Whether each cell is objectness foreground, and the lesion that regresses on it, both (h * w,)."""
    sample = BmcObjectness()(grid, target, lambda: torch.zeros(0))
    foreground = torch.zeros(len(grid.anchors) // grid.per_cell, dtype=torch.bool)
    foreground[sample.positives // grid.per_cell] = True
    supervision = published()["supervision"]
    regression = BmcRegression(
        boundary=supervision["boundary"],
        small_area=supervision["small_area"],
        area_in_cells=supervision["area_unit"] == "cells",
        anchor_iou=supervision["anchor_iou"],
    )
    return foreground, regression.owners(target, grid.levels[0], grid.strides[0])


def count_cells(bm: Tensor, level: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Count the cells of a bounding map (H, W) that reach .5 and .25, antialiased and plain."""
    plain = F.interpolate(bm[None, None], size=level, mode="bilinear", align_corners=False)
    values = {"antialiased": cell_values(bm[None], level), "plain bilinear": plain}
    return {
        how: (int((value >= 0.5 - EPSILON).sum()), int((value >= 0.25 - EPSILON).sum()))
        for how, value in values.items()
    }


def per_index(owner: Tensor, n: int) -> np.ndarray:
    """How often each of 0 .. n - 1 occurs in `owner`, (n,); what is below 0 belongs to none."""
    return torch.bincount(owner[owner >= 0], minlength=n).numpy()


def binned(counts: np.ndarray) -> dict[str, float]:
    """Share of `counts`, in %, in each of `BINS`."""
    return {name: share((counts >= low) & (counts <= high)) for name, (low, high) in BINS.items()}


def share(which: np.ndarray) -> float:
    """Share of a mask that is true, in %."""
    return round(100 * float(which.mean()), 1)


def plot_positives(positives: Positives, path: Path) -> None:
    """Draw the supplement's figure as a PNG: histograms per image and per box, at every stride."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, len(STRIDES), sharey=True, squeeze=False)
    width = 0.8 / len(PLOTTED)
    for count in positives.rules:
        if count.rule not in PLOTTED:
            continue
        column, order = STRIDES.index(count.stride), PLOTTED.index(count.rule)
        for row, (counts, unit) in enumerate(((count.per_image, "image"), (count.per_box, "box"))):
            place = np.arange(len(BINS)) + (order - (len(PLOTTED) - 1) / 2) * width
            axes[row, column].bar(place, list(binned(counts).values()), width, label=count.rule)
            axes[row, column].set(title=f"Positive anchors per {unit}, stride {count.stride}", xlabel="anchors")
            axes[row, column].set_xticks(range(len(BINS)), list(BINS))
            axes[row, 0].set_ylabel("boxes, %" if unit == "box" else "images, %")
    axes[0, 0].legend()
    # Without the library's version in it, the same counts give the same file.
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})
