"""What a proposal network is taught on one image: samples of its anchors."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.parts import Target

# Gives the lesion of each anchor of one image.
Matched = Callable[[], Tensor]


class ObjectnessSample(NamedTuple):
    """Anchors (k,) to learn objectness on, their (k,) labels in [0, 1], and all positive anchors, drawn or not."""

    anchors: Tensor
    labels: Tensor
    positives: Tensor


class RegressionSample(NamedTuple):
    """Anchors (k,) to learn boxes on, the (k,) lesions they are of, and what to divide the summed loss by."""

    anchors: Tensor
    lesions: Tensor
    normalizer: float


class Objectness(Protocol):
    """Picks anchors to learn objectness on."""

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> ObjectnessSample:
        """Pick anchors of one image; `matched` gives what `IouAssigner.match` does, made where it is asked for."""


class Regression(Protocol):
    """Picks anchors to learn boxes on."""

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> RegressionSample:
        """Pick anchors of one image; `matched` as for objectness."""


def draw(indices: Tensor, most: int) -> Tensor:
    """At most `most` of `indices`, drawn without replacement."""
    return indices[torch.randperm(len(indices), device=indices.device)[:most]]


def draw_background(background: Tensor, first: Tensor | None, most: int) -> Tensor:
    """At most `most` of the indices of background: those that come `first` before all others, each drawn at random.

    Parameters
    ----------
    background
        (k,) indices.
    first
        (n,) bool of everything that is indexed; None where nothing comes first.
    """
    if first is None:
        return draw(background, most)
    preferred = draw(background[first[background]], most)
    return torch.cat([preferred, draw(background[~first[background]], most - len(preferred))])


def centres_within(centres: Tensor, boxes: Tensor) -> Tensor:
    """Which points (n, 2) lie in any of edge-based `boxes` (k, 4), (n,) bool."""
    inside = (centres[:, None] >= boxes[:, :2]) & (centres[:, None] <= boxes[:, 2:])
    return inside.all(dim=2).any(dim=1)
