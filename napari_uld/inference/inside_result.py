"""What a look inside a detector shows of one slice; no torch here, so that a viewer can receive it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from napari_uld.lesions.axis_map import AxisMap


class Rule(StrEnum):
    """By which rule anchors are positive: the three that the BMC paper's figure 1 compares."""

    IOU = "iou"
    BM = "bm"
    BMC = "bmc"


class Guesses(StrEnum):
    """What a detector guesses lesions with."""

    ANCHORS = "anchors"
    CELLS = "cells"
    QUERIES = "queries"


# What the rules of heads without anchors make positive.
BY_RULE = {"points": Guesses.CELLS, "centres": Guesses.CELLS, "queries": Guesses.QUERIES}


@dataclass(frozen=True, eq=False)
class PositiveAnchors:
    """The anchors that teach where a slice's lesions are, row i of every column belonging together.

    Parameters
    ----------
    boxes
        (k, 4) native pixel-centre boxes; they may reach beyond the slice.
    levels
        (k,) level of the feature pyramid, finest 0.
    labels
        (k,) what the proposal network learns to say of them: 1 by IoU, otherwise the bounding map on their cell.
    lesions
        (k,) the lesion that each belongs to, as an index.
    """

    boxes: np.ndarray
    levels: np.ndarray
    labels: np.ndarray
    lesions: np.ndarray


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where a volumetric detector takes the centres of lesions to lie.

    Parameters
    ----------
    values
        (d, h, w) in [0, 1], a cell each.
    axes
        Where the cells lie in the scan, along (x, y, z).
    slices
        Indices of the scan's slices whose middles they cover.
    """

    values: np.ndarray
    axes: AxisMap
    slices: range

    @property
    def middle(self) -> tuple[float, float, float]:
        """Where the middle of the first cell lies, in native voxels (z, y, x)."""
        ((x, y, z),) = self.axes.to_native(np.full((1, 3), 0.5))
        return float(z), float(y), float(x)

    @property
    def step(self) -> tuple[float, float, float]:
        """Native voxels from one cell to the next, along (z, y, x)."""
        x, y, z = self.axes.scale
        return 1 / z, 1 / y, 1 / x


@dataclass(frozen=True, eq=False)
class Inside:
    """What a detector learns from a slice and, where it has weights, what it sees there.

    Parameters
    ----------
    z
        Index of the slice.
    lesions
        (n, 4) pixel-centre boxes of the lesions that were asked about.
    anchors
        Their positive anchors (cells, queries) by rule, those alone that the detector's family can follow.
    cells, per_cell
        Feature cells of all levels, or queries, and guesses of each.
    objectness
        (H, W) in [0, 1], the surest of a cell's guesses and of the levels; None without weights.
    branch
        (H, W) in [0, 1], the segmentation branch's map over each detection, or the map of the whole slice that a
        one-stage detector's segmentation path draws; None without either or without weights.
    attention
        (H, W) in [0, 1], attention gates' maps by the features that they weigh, "C4" to "C1" and "input".
    boxes, scores
        (n, 4) native pixel-centre boxes and (n,) scores of the detections, best first; empty without weights. A
        volumetric detector's are (n, 6), z an index of the scan's slices.
    detector, operating_point
        As in `Findings`; "" and None without weights.
    centres
        A volumetric detector's heat map about the slice; else None.
    places
        (n, 2) native points (x, y) that the detections come from, see `SlabDetections`; else None.
    position
        Where along the body the detector takes the slice to lie, from 0 towards the head to 1; None where it does not
        tell.
    windows
        How much of each window, (low, high) HU, the detector's gate lets through, 0 to 1: the mean weight of its
        images' channels; empty where there is no gate.
    """

    z: int
    lesions: np.ndarray
    anchors: Mapping[str, PositiveAnchors]
    cells: int
    per_cell: int
    objectness: np.ndarray | None
    branch: np.ndarray | None
    attention: Mapping[str, np.ndarray]
    boxes: np.ndarray
    scores: np.ndarray
    detector: str
    operating_point: float | None
    centres: HeatMap | None = None
    places: np.ndarray | None = None
    position: float | None = None
    windows: Mapping[tuple[float, float], float] = field(default_factory=dict)

    @property
    def one_stage(self) -> bool:
        """Whether the detector scores at once: proposals alone are taught by bounding maps."""
        return Rule.BM not in self.anchors

    @property
    def guesses(self) -> Guesses:
        """What its rules make positive: of detectors with anchors, anchors."""
        return next((BY_RULE[rule] for rule in self.anchors if rule in BY_RULE), Guesses.ANCHORS)

    def per_lesion(self, rule: str) -> np.ndarray:
        """How many anchors a rule makes positive for each lesion, (n,)."""
        return np.bincount(self.anchors[rule].lesions, minlength=len(self.lesions))
