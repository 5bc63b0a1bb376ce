"""Search for the anchors that fit a data set's boxes best, by differential evolution.

"Improving RetinaNet for CT lesion detection with dense masks", section 2.1: three scales and two pairs of
reciprocal ratios beside 1:1 are chosen to maximise the mean IoU of every box with its best anchor. Only widths
and heights count: box and anchor are laid on the same centre.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import differential_evolution

from napari_uld.ct.dl_info import read_dl_info
from napari_uld.errors import AnchorError, DataError

from .data.coco import read_coco
from .data.key_slices import Split, annotated_slices

# Boxes and anchors are in pixels of an input whose long side has as many.
IMAGE_SIDE = 512
SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)
SCALES = 3
# Width of a bin in log width and log height, 4%: at 5% and more the found set is measurably worse.
BIN = 0.04
# 8 candidates for each of the five variables; more do not find a better set, only later.
SETTINGS = {"popsize": 8, "maxiter": 1000, "tol": 1e-4, "updating": "deferred", "vectorized": True, "polish": False}
# Beyond this many digits neither IoU nor detector changes.
DIGITS = 4

Range = tuple[float, float]


@dataclass(frozen=True)
class AnchorSet:
    """Anchors of every size, scale and ratio.

    Parameters
    ----------
    scales
        Factors of each size.
    ratios
        Height / width; an anchor's area is (size * scale)^2 whatever its ratio.
    sizes
        Side of the square anchor of scale 1, in pixels.

    Raises
    ------
    AnchorError
        If one of them is empty or holds a value that is not positive.
    """

    scales: tuple[float, ...]
    ratios: tuple[float, ...]
    sizes: tuple[float, ...] = SIZES

    def __post_init__(self) -> None:
        for name, values in (("sizes", self.sizes), ("scales", self.scales), ("ratios", self.ratios)):
            if not values or not all(0 < value < np.inf for value in values):
                raise AnchorError(f"An anchor set needs positive {name}; found {list(values)}")

    def shapes(self) -> np.ndarray:
        """(n, 2) width and height of each anchor, size by size, scale by scale, ratio by ratio."""
        sides = np.multiply.outer(self.sizes, self.scales).reshape(-1, 1)
        roots = np.sqrt(self.ratios)
        return np.stack([sides / roots, sides * roots], axis=-1).reshape(-1, 2)


def with_reciprocals(ratios: tuple[float, ...]) -> tuple[float, ...]:
    """Give 1, these ratios and their reciprocals, sorted."""
    return tuple(sorted((1.0, *ratios, *(1 / ratio for ratio in ratios))))


RETINANET = AnchorSet((1.0, 2 ** (1 / 3), 2 ** (2 / 3)), (0.5, 1.0, 2.0))
_PUBLISHED_SCALES, _PUBLISHED_RATIOS = (0.425, 0.54, 0.68), (1.78, 3.27)
# The paper's ratios as height / width, as it writes them; and as (height / width)^2, which fits the boxes better.
PUBLISHED = AnchorSet(_PUBLISHED_SCALES, with_reciprocals(_PUBLISHED_RATIOS))
PUBLISHED_SQUARED = AnchorSet(_PUBLISHED_SCALES, tuple(float(np.sqrt(ratio)) for ratio in PUBLISHED.ratios))


@dataclass(frozen=True)
class SearchBounds:
    """Where scales and ratios are looked for; the defaults are the paper's.

    Parameters
    ----------
    scales
        (low, high) of all three scales.
    ratios
        (low, high) of each pair's larger ratio.

    Raises
    ------
    AnchorError
        If a low bound is not positive or not below its high one, or a ratio's is below 1.
    """

    scales: Range = (0.4, 1.6)
    ratios: tuple[Range, Range] = ((1.0, 2.0), (2.0, 4.0))

    def __post_init__(self) -> None:
        low, high = self.scales
        if not 0 < low < high < np.inf:
            raise AnchorError(f"Bounds of scales must be 0 < LOW < HIGH; found {low:g} {high:g}")
        for low, high in self.ratios:
            if not 1 <= low < high < np.inf:
                raise AnchorError(
                    f"Bounds of ratios must be 1 <= LOW < HIGH (reciprocals come by themselves); found {low:g} {high:g}"
                )

    def variables(self) -> list[Range]:
        """One (low, high) for each variable of the search."""
        return [self.scales] * SCALES + list(self.ratios)


@dataclass(frozen=True, eq=False)
class SizeBins:
    """Box sizes, each bin of similar ones as one row.

    A box and the same box on its side have the same best IoU with a set that holds every ratio's reciprocal:
    only the short and the long side are kept.

    Parameters
    ----------
    short, long
        (bins,) mean sides in pixels.
    counts
        (bins,) boxes.
    """

    short: np.ndarray
    long: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Parameters
    ----------
    anchors
        The best set, rounded to `DIGITS` digits.
    objective
        Mean best IoU that the search saw: by its bins, before rounding.
    bins
        Bins that it worked on; as many as boxes where it used them all.
    evaluations
        Anchor sets that it tried.
    generations
        Times that the population was renewed.
    seconds
        How long it took.
    """

    anchors: AnchorSet
    objective: float
    bins: int
    evaluations: int
    generations: int
    seconds: float


def read_box_sizes(path: Path, split: Split = "val") -> np.ndarray:
    """Read the widths and heights of all boxes as they are in an input of 512 pixels.

    Parameters
    ----------
    path
        A COCO JSON file, all boxes of which are read; or a folder in DeepLesion's layout, where possibly
        noisy boxes and those of images that are not on disk are left out.
    split
        Which part of a folder.

    Returns
    -------
    sizes
        (n, 2) in pixels.

    Raises
    ------
    DataError
        If there is no box, or a folder lacks its table.
    AnnotationFileError
        If a file cannot be read or does not fit.
    """
    if path.is_dir():
        keys = annotated_slices(path, split)
        sides = {(row.series, row.key_slice): max(row.image_size) for row in read_dl_info(path / "DL_info.csv").rows}
        images = [(key.boxes, sides[key.series, key.number]) for key in keys]
    else:
        images = [(image.boxes, max(image.width, image.height)) for image in read_coco(path)]
    if any(side <= 0 for _, side in images):
        raise DataError(f"{path} says of an image that it has no pixels: its boxes cannot be scaled")
    scaled = [(boxes[:, 2:] - boxes[:, :2]) * (IMAGE_SIDE / side) for boxes, side in images]
    sizes = np.concatenate(scaled) if scaled else np.zeros((0, 2))
    if not len(sizes):
        raise DataError(f"{path} holds no box: there is nothing to fit anchors to")
    return sizes


def best_ious(sizes: np.ndarray, shapes: np.ndarray, *, plus_one: bool = False) -> np.ndarray:
    """IoU of each box with its best anchor on the same centre.

    Parameters
    ----------
    sizes, shapes
        (n, 2) and (m, 2) widths and heights of boxes and of anchors.
    plus_one
        Count a pixel more along every side, as older code does.

    Returns
    -------
    ious
        (n,) float64.
    """
    width, height = (sizes + float(plus_one)).T
    best = np.zeros(len(sizes))
    for anchor_width, anchor_height in shapes + float(plus_one):
        shared = np.minimum(width, anchor_width) * np.minimum(height, anchor_height)
        np.maximum(best, shared / (width * height + anchor_width * anchor_height - shared), out=best)
    return best


def bin_sizes(sizes: np.ndarray, width: float = BIN) -> SizeBins:
    """Put (n, 2) box sizes into bins of equal width in log short side and log long side."""
    sides = np.sort(sizes, axis=1)
    cells = np.floor(np.log(sides) / width).astype(np.int64)
    _, owner, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    short, long = (np.bincount(owner.ravel(), weights=side) / counts for side in sides.T)
    return SizeBins(short, long, counts)


def keep_sizes(sizes: np.ndarray) -> SizeBins:
    """Give each of (n, 2) box sizes a bin of its own."""
    short, long = np.sort(sizes, axis=1).T
    return SizeBins(short, long, np.ones(len(sizes), dtype=np.int64))


def mean_best_ious(
    bins: SizeBins, candidates: np.ndarray, *, sizes: tuple[float, ...] = SIZES, plus_one: bool = False
) -> np.ndarray:
    """Mean IoU of the boxes with their best anchors, for many anchor sets at once.

    Parameters
    ----------
    candidates
        (5, sets): three scales, then the larger ratio of two pairs.

    Returns
    -------
    means
        (sets,) float32.
    """
    # Half the memory and twice the speed of float64; its error is far below that of the bins.
    extra = np.float32(plus_one)
    short, long = bins.short.astype(np.float32) + extra, bins.long.astype(np.float32) + extra
    weights = (bins.counts / bins.counts.sum()).astype(np.float32)
    variables = np.asarray(candidates, dtype=np.float32)[:, :, None]
    scales, roots = variables[:SCALES], np.sqrt(variables[SCALES:])
    box_area = short * long
    best = np.zeros((variables.shape[1], len(bins)), dtype=np.float32)
    shared, total = np.empty_like(best), np.empty_like(best)
    for size in sizes:
        for side in np.float32(size) * scales:
            # A box that stands upright has its best anchor among the upright ones and the square.
            for root in (np.float32(1), *roots):
                anchor_short, anchor_long = side / root + extra, side * root + extra
                np.minimum(short, anchor_short, out=shared)
                shared *= np.minimum(long, anchor_long, out=total)
                np.add(box_area, anchor_short * anchor_long, out=total)
                np.maximum(best, np.divide(shared, total, out=shared), out=best)
    # The IoU x / (1 - x) grows with x = shared / (box's area + anchor's area): one subtraction at the end is enough.
    best /= 1 - best
    return best @ weights


def search_anchors(
    sizes: np.ndarray,
    bounds: SearchBounds | None = None,
    *,
    seed: int = 0,
    exact: bool = False,
    plus_one: bool = False,
) -> Found:
    """Search the set of 3 scales and 5 ratios with the highest mean best IoU.

    Parameters
    ----------
    sizes
        (n, 2) box widths and heights at 512 pixels.
    bounds
        Default the paper's.
    seed
        The same one gives the same set.
    exact
        Compare sets on all boxes, not on bins of them.
    plus_one
        See `best_ious`.

    Raises
    ------
    DataError
        If there is no box, or one has no positive finite size.
    """
    if not len(sizes):
        raise DataError("There is no box to fit anchors to")
    good = ((sizes > 0) & (sizes < np.inf)).all(axis=1)
    if not good.all():
        raise DataError(f"Boxes must have positive finite sizes; found {sizes[~good][0].tolist()}")
    bounds = bounds or SearchBounds()
    started = time.perf_counter()
    bins = keep_sizes(sizes) if exact else bin_sizes(sizes)
    result = differential_evolution(
        lambda candidates: -mean_best_ious(bins, candidates, plus_one=plus_one),
        bounds.variables(),
        seed=np.random.default_rng(seed),
        **SETTINGS,
    )
    seconds = time.perf_counter() - started
    scales, pairs = result.x[:SCALES], result.x[SCALES:]
    return Found(
        anchors=AnchorSet(_rounded(np.sort(scales)), _rounded(with_reciprocals(tuple(pairs)))),
        objective=-float(result.fun),
        bins=len(bins),
        evaluations=result.nfev * len(result.population),
        generations=result.nit,
        seconds=seconds,
    )


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Keep as many digits of each value as a recipe needs."""
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
